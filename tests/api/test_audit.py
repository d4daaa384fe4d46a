"""What auditors ask over HTTP: the audit log, checkpoints, proofs, the whole log, and evidence of one instance."""

from __future__ import annotations

import base64
import html.parser
from typing import Any

import httpx
import psycopg
import pytest

from api.app import create_app
from api.routes import audit_examples as examples
from api.serving import wired
from tenuto.audit.bundle import SIGNATURE, verify_bundle
from tenuto.audit.errors import AuditError, BadBundleError, WrongKeyError
from tenuto.audit.note import Verifier, read_checkpoint
from tenuto.audit.tree import grew, includes
from tests.api.conftest import APPROVAL, BOOKING, HELLO, Server, serving

NASTY = "</script><script>alert(1)</script><img src=x onerror=alert(1)>&quot;\u2028"


def decoded(hashes: list[str]) -> list[bytes]:
    return [base64.b64decode(hash) for hash in hashes]


async def signed(server: Server) -> dict[str, Any]:
    answer: dict[str, Any] = await server.post("/v1/audit/checkpoints", {})
    return answer


async def finished(server: Server) -> str:
    """An instance that has ended."""
    await server.deploy(HELLO, "hello")
    view = await server.start("hello", {"name": "Ada"})
    await server.work("greetings", "Hello, Ada")
    return str(view["id"])


async def test_the_notary_says_how_far_it_is_and_gives_its_key(server: Server) -> None:
    await finished(server)
    await signed(server)
    standing = await server.get("/v1/audit")
    metrics = (await server.http.get("/metrics")).text
    assert f"tenuto_notary_exported_events {float(standing['size'])}\n" in metrics
    assert "tenuto_notary_stopped 0.0\n" in metrics
    assert standing.keys() == examples.STANDING.keys()
    assert standing["exported"] == standing["size"] == await server.events()
    assert (server.folder / "checkpoints/checkpoints.jsonl").exists()
    note = (await server.http.get("/v1/audit/checkpoint")).text
    checkpoint = read_checkpoint(Verifier.read(standing["key"]).opened(note))
    assert checkpoint.size == standing["size"]


async def test_an_event_is_proved_by_position_and_by_version(server: Server) -> None:
    instance = await finished(server)
    point = await signed(server)
    assert point.keys() == examples.SIGNED.keys()
    key = Verifier.read((await server.get("/v1/audit"))["key"])
    for query in ({"position": 1}, {"instance": instance, "version": 3}):
        proof = await server.get("/v1/audit/proof", **query)
        assert proof.keys() == examples.PROOF.keys()
        root = read_checkpoint(key.opened(proof["checkpoint"])).root
        (leaf,) = decoded([proof["leaf"]])
        assert includes(root, proof["size"], proof["index"], leaf, decoded(proof["proof"]))


async def test_growth_is_proved(server: Server) -> None:
    await server.deploy(HELLO, "hello")
    first = await signed(server)
    await server.start("hello", {"name": "Ada"})
    second = await signed(server)
    key = Verifier.read((await server.get("/v1/audit"))["key"])
    old, new = (read_checkpoint(key.opened(one["checkpoint"])) for one in (first, second))
    proof = await server.get("/v1/audit/consistency", **{"from": old.size, "to": new.size})
    assert proof.keys() == examples.CONSISTENCY.keys()
    assert grew(old.root, old.size, new.root, new.size, decoded(proof["proof"]))
    listed = await server.get("/v1/audit/checkpoints", limit=1000)
    assert [one["size"] for one in listed["checkpoints"]][-2:] == [old.size, new.size]
    page = await server.get("/v1/audit/checkpoints", after=old.size)
    assert [one["size"] for one in page["checkpoints"]] == [new.size]


@pytest.mark.parametrize(
    ("path", "query", "status", "slug"),
    [
        ("proof", {}, 422, "invalid-parameter"),
        ("proof", {"position": 1, "instance": "i", "version": 1}, 422, "invalid-parameter"),
        ("proof", {"instance": "i"}, 422, "invalid-parameter"),
        ("proof", {"position": 0}, 422, "invalid-parameter"),
        ("proof", {"position": 99_999}, 404, "unknown-event"),
        ("proof", {"instance": "i", "version": 1}, 404, "unknown-event"),
        ("proof", {"position": 1, "size": 99_999}, 422, "size-out-of-range"),
        ("consistency", {}, 422, "invalid-parameter"),
        ("consistency", {"from": 0, "to": 1}, 422, "size-out-of-range"),
        ("consistency", {"from": 1, "to": 99_999}, 422, "size-out-of-range"),
        ("consistency", {"from": -1, "to": "x"}, 422, "invalid-parameter"),
        ("checkpoints", {"after": -1}, 422, "invalid-parameter"),
        ("entries", {"after": "x"}, 422, "invalid-parameter"),
        ("log", {"kind": "rumour"}, 422, "invalid-parameter"),
        ("log", {"after": "2026-11-23T12:00:00"}, 422, "invalid-parameter"),
        ("log", {"cursor": "x"}, 422, "invalid-cursor"),
        ("log", {"actr": "ada"}, 422, "unknown-parameter"),
    ],
)
async def test_bad_questions_are_refused_with_a_type(
    path: str, query: dict[str, Any], status: int, slug: str, server: Server
) -> None:
    await server.deploy(HELLO, "hello")
    await signed(server)
    problem = await server.get(f"/v1/audit/{path}", status, **query)
    assert problem["type"] == f"urn:tenuto:problem:{slug}"


async def test_an_event_that_no_checkpoint_covers_yet_is_409(server: Server) -> None:
    await server.deploy(HELLO, "hello")
    point = await signed(server)
    await server.start("hello", {"name": "Ada"})
    problem = await server.get("/v1/audit/proof", 409, position=point["position"] + 1)
    assert (problem["type"], problem["size"]) == ("urn:tenuto:problem:not-covered", point["size"])


async def test_the_whole_log_is_read_page_by_page(server: Server) -> None:
    await finished(server)
    found: list[Any] = []
    after: str | None = "0"
    while after is not None:
        page = await server.get("/v1/audit/entries", after=after, limit=5)
        found += page["entries"]
        after = page["next"]
    assert len(found) == await server.events()
    assert found[0].keys() == examples.ENTRY.keys()
    whole = await server.get("/v1/audit/entries", limit=1, events=True)
    assert whole["entries"][0]["topic"] == "DefinitionDeployed"


async def test_the_audit_log_says_who_did_what_why_and_by_which_request(server: Server) -> None:
    await server.deploy(APPROVAL, "approval")
    view = await server.start("approval")
    body = {"reason": "a look at the bank", "actor": "ada"}
    await server.post(f"/v1/instances/{view['id']}/pause", body, Tenuto_Request_Id="r-17")
    position = await server.events()
    page = await server.get("/v1/audit/log", kind="act", minPosition=position)
    (entry,) = page["entries"]
    assert entry.keys() == examples.LOGGED.keys()
    assert (entry["event"], entry["actor"], entry["reason"]) == ("Paused", "ada", "a look at the bank")
    assert (entry["instanceId"], entry["requestId"]) == (view["id"], "r-17")
    deploys = await server.get("/v1/audit/log", kind="deploy")
    assert [one["detail"]["name"] for one in deploys["entries"]] == ["approval"]
    every = await server.get("/v1/audit/log", instance=view["id"])
    assert {one["kind"] for one in every["entries"]} == {"start", "transition", "act"}
    assert await server.get("/v1/audit/log", actor="nobody") == {
        "entries": [],
        "next": None,
        "position": page["position"],
    }


async def test_an_act_without_a_request_id_is_given_one_and_told_it(server: Server) -> None:
    await server.deploy(APPROVAL, "approval")
    view = await server.start("approval")
    answer = await server.http.post(f"/v1/instances/{view['id']}/pause", json={"reason": "a look"})
    page = await server.get("/v1/audit/log", kind="act", minPosition=await server.events())
    assert page["entries"][0]["requestId"] == answer.headers["Tenuto-Request-Id"]
    every = await server.get("/v1/audit/log")
    assert all(entry["requestId"] for entry in every["entries"])
    assert "Tenuto-Request-Id" not in (await server.http.get("/v1/audit/log")).headers


async def test_a_log_that_was_changed_is_signed_no_more(database: str, schema: str) -> None:
    async with serving(database, schema) as server:
        await finished(server)
        await signed(server)
        with psycopg.connect(database, autocommit=True) as admin:
            admin.execute(f"SET search_path = {schema}, {schema}_notary".encode())
            admin.execute("DELETE FROM stored_events WHERE notification_id = 3")
            admin.execute("UPDATE head SET size = 0, position = 0")
        problem = await server.post("/v1/audit/checkpoints", {}, 409)
        assert problem["type"] == "urn:tenuto:problem:log-inconsistent"
        assert "checkpoint" in (await server.get("/v1/audit"))["problem"]
        assert "tenuto_notary_stopped 1.0\n" in (await server.http.get("/metrics")).text


async def test_a_server_without_a_notary_says_so(database: str, schema: str) -> None:
    wiring = wired(database, services={}, lease_seconds=5, schema=schema, views=f"{schema}_views")
    async with wiring as parts:
        transport = httpx.ASGITransport(create_app(parts), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://tenuto") as http:
            answer = await http.get("/v1/audit")
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:tenuto:problem:no-notary")


# Evidence ----------------------------------------------------------------------


async def evidence(server: Server, instance: str) -> bytes:
    answer = await server.http.get(f"/v1/instances/{instance}/evidence")
    assert answer.status_code == 200, answer.text
    return answer.content


async def test_evidence_is_one_signed_file_that_verifies_offline(server: Server) -> None:
    instance = await finished(server)
    page = await evidence(server, instance)
    key = Verifier.read((await server.get("/v1/audit"))["key"])
    report = verify_bundle(page, key)
    view = await server.get(f"/v1/instances/{instance}")
    assert (report.instance, report.definitions) == (instance, ["hello 1"])
    events = await server.get(f"/v1/instances/{instance}/events")
    assert report.versions == len(events["events"])
    text = page.decode()
    assert view["status"] == "completed"
    assert "<dd>completed</dd>" in text
    assert "worker:greetings/greet" in text, "the definition's text"


async def test_evidence_of_nobody_is_404(server: Server) -> None:
    await server.get("/v1/instances/0-nobody/evidence", 404)


class Elements(html.parser.HTMLParser):
    """What a browser would make of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


async def test_what_users_wrote_stays_text_on_the_page(server: Server) -> None:
    await server.deploy(
        BOOKING.replace("travel/book,", "travel/book, name: '<script>x</script>',"), "booking"
    )
    view = await server.start("booking", {"note": NASTY}, labels={"a": NASTY[:60]}, correlationId=NASTY[:60])
    body = {"reason": NASTY, "actor": "<b>ada</b>"}
    await server.post(f"/v1/instances/{view['id']}/pause", body)
    page = await evidence(server, view["id"])
    report = verify_bundle(page)
    elements = Elements()
    elements.feed(page.decode())
    scripts = [attributes for tag, attributes in elements.found if tag == "script"]
    assert [one["type"] for one in scripts] == ["application/json"] * 2
    assert [one["id"] for one in scripts] == ["evidence", "signature"]
    tags = {tag for tag, _ in elements.found}
    assert tags & {"img", "b"} == {"b"}
    assert not tags & {"iframe", "object", "link", "form", "a", "svg"}
    assert sum(tag == "b" for tag, _ in elements.found) == report.versions, (
        "one for each event, none of Ada's"
    )
    names = {name for _, attributes in elements.found for name in attributes}
    assert names <= {"lang", "charset", "http-equiv", "content", "class", "type", "id"}
    assert "default-src 'none'" in page.decode()
    assert report.instance == view["id"]


async def test_evidence_that_was_changed_anywhere_is_refused(server: Server) -> None:
    page = await evidence(server, await finished(server))
    key = Verifier.read((await server.get("/v1/audit"))["key"])
    for place in range(10, len(page) - 1, len(page) // 150):
        changed = page[:place] + bytes([page[place] ^ 1]) + page[place + 1 :]
        with pytest.raises(AuditError):
            verify_bundle(changed, key)


async def test_evidence_cut_in_half_or_signed_by_somebody_else_is_refused(server: Server) -> None:
    page = await evidence(server, await finished(server))
    with pytest.raises(BadBundleError, match="cut off"):
        verify_bundle(page[: len(page) // 2])
    with pytest.raises(BadBundleError, match="cut off"):
        verify_bundle(page.rpartition(SIGNATURE)[0])
    stranger = Verifier.read("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    with pytest.raises(WrongKeyError, match="not signed by PeterNeumann"):
        verify_bundle(page, stranger)
