"""The client against a scripted server: what is sent, how answers read, what is tried again and what not."""

from __future__ import annotations

import inspect
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from tenuto import (
    AsyncClient,
    Client,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    ServerUnreachableError,
    TenutoApiError,
    UnavailableError,
    WaitTimeoutError,
    workflow,
)
from tests.tenuto.fake_server import Answers, answering


@pytest.fixture
def server() -> Iterator[Answers]:
    with answering() as answers:
        yield answers


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def client(server: Answers, pauses: list[float]) -> Iterator[Client]:
    with Client(server.url, pause=pauses.append, actor="ada") as client:
        yield client


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# --- whom it asks


def test_the_environment_names_the_server_and_the_actor(
    server: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENUTO_SERVER", f"{server.url}/")
    monkeypatch.setenv("TENUTO_ACTOR", "grace")
    server.answer().answer()
    with Client() as client:
        assert client.base_url == server.url
        client.health()
    with Client("http://127.0.0.1:9", actor="ada") as client:
        assert client.base_url == "http://127.0.0.1:9"
    with Client(actor="ada") as client:
        client.health()
    assert [got.headers["Tenuto-Actor"] for got in server.got] == ["grace", "ada"]


async def test_without_any_the_server_is_the_one_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TENUTO_SERVER", raising=False)
    async with AsyncClient() as client:
        assert client.base_url == "http://127.0.0.1:8080"


# --- what is sent


def test_start_sends_only_what_was_given_and_always_an_idempotency_key(
    client: Client, server: Answers
) -> None:
    server.answer({"id": "0-1", "status": "running"}, status=201)
    view = client.start("order", {"orderId": "o-1"}, correlation_id="o-1", labels={"tier": "gold"})
    assert view["id"] == "0-1"
    (got,) = server.got
    assert (got.method, got.path) == ("POST", "/v1/instances")
    assert got.body == {
        "definition": "order",
        "input": {"orderId": "o-1"},
        "correlationId": "o-1",
        "labels": {"tier": "gold"},
    }
    assert len(got.headers["Idempotency-Key"]) == 32
    assert got.headers["Tenuto-Actor"] == "ada"


def test_a_list_can_be_as_fresh_as_a_start(client: Client, server: Answers) -> None:
    server.answer({"id": "0-1"}, status=201, headers={"Tenuto-Position": "4711"})
    server.answer({"instances": [], "next": None, "position": 4712})
    started = client.start("order")
    page = client.list(min_position=started["position"])
    assert server.got[1].query == [("minPosition", "4711")]
    assert page.position == 4712


def test_start_can_wait_and_begin_later(client: Client, server: Answers) -> None:
    server.answer()
    at = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    client.start("order", start_at=at, wait="30s", idempotency_key="k1", version="2", priority="high")
    (got,) = server.got
    assert got.query == [("wait", "30s")]
    assert got.headers["Idempotency-Key"] == "k1"
    assert got.body["startAt"] == "2026-01-01T10:00:00Z"
    assert (got.body["version"], got.body["priority"], got.body["input"]) == ("2", "high", {})


def test_a_time_without_a_zone_is_refused(client: Client) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        client.state("0-1", at=datetime(2026, 1, 1))  # noqa: DTZ001 - the point of the test


def test_list_sends_filters_repeatably(client: Client, server: Answers) -> None:
    server.answer({"instances": [{"id": "0-1"}], "next": "c1"})
    page = client.list(status=["waiting", "running"], labels={"a": "1", "b": "2"}, limit=5)
    assert [view["id"] for view in page] == ["0-1"]
    assert page.next == "c1"
    assert server.got[0].query == [
        ("status", "waiting"),
        ("status", "running"),
        ("labels", "a=1"),
        ("labels", "b=2"),
        ("limit", "5"),
    ]


def test_all_pages_are_one_iterator(client: Client, server: Answers) -> None:
    server.answer({"events": [{"version": 1}, {"version": 2}], "next": "c1"})
    server.answer({"events": [{"version": 3}], "next": None})
    assert [event["version"] for event in client.events_all("0-1", limit=2)] == [1, 2, 3]
    assert [got.query for got in server.got] == [[("limit", "2")], [("limit", "2"), ("cursor", "c1")]]


def test_reads_of_one_instance_have_their_own_paths(client: Client, server: Answers) -> None:
    for body in (
        {"id": "0-1"},
        {"history": [{"stepId": "a"}]},
        {"transitions": [{"to": "running"}]},
        {"version": 3},
    ):
        server.answer(body)
    client.instance("0-1", history=True)
    assert client.history("0-1").items == [{"stepId": "a"}]
    assert client.transitions("0-1").items == [{"to": "running"}]
    assert client.state("0-1", version=3)["version"] == 3
    assert [(got.path, got.query) for got in server.got] == [
        ("/v1/instances/0-1", [("include", "history")]),
        ("/v1/instances/0-1/history", []),
        ("/v1/instances/0-1/transitions", []),
        ("/v1/instances/0-1/state", [("version", "3")]),
    ]


def test_ids_cannot_leave_their_place_in_the_path(client: Client, server: Answers) -> None:
    server.answer()
    client.instance("../definitions?x=1")
    assert server.got[0].path == "/v1/instances/..%2Fdefinitions%3Fx%3D1"


def test_signals_have_an_id_of_their_own_unless_given(client: Client, server: Answers) -> None:
    server.answer().answer()
    client.signal("0-1", "approval", {"decision": "approved"})
    client.signal_by_key("approval", "o-1", signal_id="s1", all=True, ttl=60)
    first, second = server.got
    assert first.path == "/v1/instances/0-1/signals/approval"
    assert first.body["payload"] == {"decision": "approved"}
    assert len(first.body["signalId"]) == 32
    assert (second.path, second.query) == ("/v1/signals/approval", [("all", "true"), ("ttl", "60000ms")])
    assert second.body == {"correlationId": "o-1", "signalId": "s1", "payload": {}}


def test_an_alert_is_acknowledged_and_a_plan_is_read(client: Client, server: Answers) -> None:
    server.answer({"status": "running"}).answer({"steps": [{"undoStep": "refund"}], "version": 7})
    client.acknowledge("0-1", "ship#1/failed", "seen")
    assert client.undo_plan("0-1")["steps"][0]["undoStep"] == "refund"
    assert server.got[0].path == "/v1/alerts/0-1/ship%231/failed/acknowledge"
    assert server.got[0].body == {"reason": "seen"}
    assert server.got[1].path == "/v1/instances/0-1/undo-plan"


def test_questions_about_the_past_and_about_what_would_be(client: Client, server: Answers) -> None:
    for _ in range(6):
        server.answer({"causes": [], "changes": [], "equal": True})
    client.diff("0-1", 3, datetime(2026, 1, 1, tzinfo=UTC))
    client.diff("0-1", "2026-01-01T00:00:00Z")
    assert client.why("0-1")["causes"] == []
    assert client.replay("0-1", decide=True)["equal"]
    client.verify(limit=10, cursor="0-0")
    client.what_if({"name": "order", "steps": []}, since="30d", labels={"a": "b"}, each=True)
    assert [(got.path, got.query) for got in server.got[:4]] == [
        ("/v1/instances/0-1/diff", [("from", "3"), ("to", "2026-01-01T00:00:00Z")]),
        ("/v1/instances/0-1/diff", [("from", "2026-01-01T00:00:00Z")]),
        ("/v1/instances/0-1/why", []),
        ("/v1/instances/0-1/replay", [("decide", "true")]),
    ]
    assert (server.got[4].path, server.got[4].body) == (
        "/v1/verify",
        {"decide": False, "limit": 10, "cursor": "0-0"},
    )
    assert server.got[5].path == "/v1/definitions/order/what-if"
    assert server.got[5].body == {
        "text": '{"name": "order", "steps": []}',
        "since": "30d",
        "labels": {"a": "b"},
        "each": True,
    }


def test_acts_carry_their_reason(client: Client, server: Answers) -> None:
    for _ in range(4):
        server.answer({"status": "running"})
    client.cancel("0-1", "changed her mind")
    client.resolve("0-1", "by phone", execution="ship#1", output={"n": 1})
    client.give_up("0-1", "card closed", execution="charge#1/undo")
    client.change_data("0-1", "typo", {"city": "Bonn"})
    assert [(got.path.rsplit("/", 1)[1], got.body) for got in server.got] == [
        ("cancel", {"reason": "changed her mind"}),
        ("resolve", {"reason": "by phone", "execution": "ship#1", "output": {"n": 1}}),
        ("give-up", {"reason": "card closed", "execution": "charge#1/undo"}),
        ("data", {"reason": "typo", "data": {"city": "Bonn"}}),
    ]


def test_deploy_takes_a_file_its_text_its_data_or_a_builder(
    client: Client, server: Answers, tmp_path: Path
) -> None:
    text = "# an order\nname: order  # mine\nsteps: []\n"
    file = tmp_path / "any.yaml"
    file.write_text(text, encoding="utf-8")
    for source in (file, str(file), text, {"name": "order", "steps": []}, workflow.define("order", "1")):
        server.answer({"name": "order", "version": "1"}, status=201)
        assert client.deploy(source, dry_run=True)["version"] == "1"
    assert {(got.method, got.path) for got in server.got} == {("PUT", "/v1/definitions/order")}
    dry = ("dryRun", "true")
    assert [got.query for got in server.got[:2]] == [[dry, ("source", str(file))]] * 2
    assert [got.query for got in server.got[2:]] == [[dry]] * 3
    assert [got.headers["Content-Type"] for got in server.got] == ["application/yaml"] * 3 + [
        "application/json"
    ] * 2
    assert [got.text for got in server.got[:3]] == [text] * 3
    assert server.got[4].body == {"name": "order", "version": "1", "steps": []}


def test_a_place_longer_than_the_server_takes_keeps_its_end(
    client: Client, server: Answers, tmp_path: Path
) -> None:
    folder = tmp_path.joinpath(*["deep" * 20] * 7)
    folder.mkdir(parents=True)
    file = folder / "order.yaml"
    file.write_text("name: order\n", encoding="utf-8")
    server.answer()
    client.deploy(file)
    ((_, place),) = server.got[0].query
    assert (len(place), place[-10:]) == (500, "order.yaml")


def test_deploy_without_a_name_says_so(client: Client) -> None:
    with pytest.raises(ValueError, match="name"):
        client.deploy("steps: []\n")


def test_an_input_that_is_no_json_is_refused_before_it_is_sent(client: Client, server: Answers) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        client.start("order", {"amount": float("nan")})
    assert server.got == []


# --- what is refused


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, NotFoundError),
        (409, ConflictError),
        (412, ConflictError),
        (400, InvalidInputError),
        (422, InvalidInputError),
        (403, TenutoApiError),
        (500, TenutoApiError),
    ],
)
def test_a_refusal_is_a_typed_error_and_is_not_tried_again(
    client: Client, server: Answers, status: int, error: type[TenutoApiError]
) -> None:
    server.problem(status, "Not this way.", findings=[{"code": "E1", "line": 3}])
    with pytest.raises(error) as caught:
        client.instance("0-1")
    assert type(caught.value) is error
    assert (caught.value.status, str(caught.value), caught.value.title) == (
        status,
        "Not this way.",
        "Refused",
    )
    assert caught.value.type == "urn:tenuto:problem"
    assert caught.value.findings == [{"code": "E1", "line": 3}]
    assert len(server.got) == 1


def test_reads_are_tried_again_with_growing_pauses_and_then_given_up(
    client: Client, server: Answers, pauses: list[float]
) -> None:
    for _ in range(4):
        server.problem(503, "Database is away.")
    with pytest.raises(UnavailableError, match="Database is away"):
        client.instance("0-1")
    assert len(server.got) == 4
    assert pauses == [0.1, 0.2, 0.4]


def test_retry_after_is_heeded_within_a_bound(client: Client, server: Answers, pauses: list[float]) -> None:
    server.problem(429, "Slow down.", headers={"Retry-After": "2"})
    server.problem(503, "Later.", headers={"Retry-After": "3600"}).answer({"id": "0-1"})
    assert client.instance("0-1")["id"] == "0-1"
    assert pauses == [2.0, 5.0]


def test_a_start_whose_answer_was_lost_is_repeated_under_the_same_key(
    client: Client, server: Answers
) -> None:
    server.cut().answer({"id": "0-1"}, status=201)
    assert client.start("order")["id"] == "0-1"
    first, second = server.got
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    assert first.text == second.text


def test_a_signal_is_repeated_under_the_same_id(client: Client, server: Answers) -> None:
    server.problem(503, "Later.").answer()
    client.signal("0-1", "approval")
    assert server.got[0].body == server.got[1].body


def test_an_act_whose_answer_was_lost_is_not_repeated_and_says_what_is_unknown(
    client: Client, server: Answers
) -> None:
    server.cut()
    with pytest.raises(ServerUnreachableError, match="may have been done") as caught:
        client.retry("0-1", "again")
    assert caught.value.maybe_done
    assert len(server.got) == 1


def test_a_server_that_is_not_there_says_what_to_do(pauses: list[float]) -> None:
    with Client(f"http://127.0.0.1:{free_port()}", pause=pauses.append) as client:
        with pytest.raises(ServerUnreachableError, match="tenuto dev") as caught:
            client.skip("0-1", "not needed")
        assert not caught.value.maybe_done
    assert len(pauses) == 3  # never reached the server, so that it may be repeated whatever it is


def test_an_answer_that_is_no_json_still_tells_its_words(client: Client, server: Answers) -> None:
    from aiohttp import web

    server.script.append(web.Response(text="<html>gateway</html>", status=500))
    with pytest.raises(TenutoApiError, match="gateway"):
        client.health()


# --- waiting


def test_wait_holds_one_poll_after_the_other_until_the_end(client: Client, server: Answers) -> None:
    server.answer({"id": "0-1", "status": "running"}).answer(
        {"id": "0-1", "status": "completed", "result": 7}
    )
    assert client.wait("0-1")["result"] == 7
    assert [got.query for got in server.got] == [[("wait", "30000ms")]] * 2


def test_wait_ends_with_its_time(client: Client, server: Answers) -> None:
    server.answer({"id": "0-1", "status": "waiting"})
    with pytest.raises(WaitTimeoutError, match="still waiting"):
        client.wait("0-1", timeout=0)


# --- the two clients


def test_both_clients_offer_the_same() -> None:
    public = [{name for name in vars(kind) if not name.startswith("_")} for kind in (Client, AsyncClient)]
    assert public[0] == public[1]


def test_a_method_has_the_signature_and_the_words_of_its_call(client: Client) -> None:
    assert list(inspect.signature(client.resolve).parameters) == [
        "instance_id",
        "reason",
        "execution",
        "output",
    ]
    assert "should have answered" in (client.resolve.__doc__ or "")


async def test_the_async_client_does_as_the_blocking_one() -> None:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    with answering() as server:
        async with AsyncClient(server.url, pause=pause) as client:
            server.problem(503, "Later.").answer({"id": "0-1"}, status=201)
            assert (await client.start("order"))["id"] == "0-1"
            server.answer({"instances": [{"id": "a"}], "next": "c"}).answer({"instances": [{"id": "b"}]})
            assert [view["id"] async for view in client.list_all()] == ["a", "b"]
            server.answer({"status": "failed"})
            assert (await client.wait("0-1"))["status"] == "failed"
            server.problem(409, "It has ended.")
            with pytest.raises(ConflictError, match="It has ended"):
                await client.cancel("0-1", "late")
            server.cut()
            with pytest.raises(ServerUnreachableError):
                await client.skip("0-1", "x")
    assert pauses == [0.1]
    assert server.got[0].headers["Idempotency-Key"] == server.got[1].headers["Idempotency-Key"]
