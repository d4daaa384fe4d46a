"""Webhooks: a real receiver on loopback is told, in order and signed; one that refuses loses nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import standardwebhooks
from aiohttp import web

from api.serving import wired
from feeds import delivery
from tests.api.conftest import APPROVAL, Server, serving

STATE_CHANGED = "workflow.state.changed"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
YES = {"signalId": "s-1", "payload": "yes"}
Answer = Callable[[dict[str, Any]], web.Response]


def taken(event: dict[str, Any]) -> web.Response:
    return web.Response(status=204)


class Receiver:
    """`answer` says what becomes of each event; `posts` are (headers, body) in the order in which they came."""

    def __init__(self) -> None:
        self.url = ""
        self.answer: Answer = taken
        self.posts: list[tuple[dict[str, str], bytes]] = []
        self._came = asyncio.Condition()

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        async with self._came:
            self.posts.append((dict(request.headers), body))
            self._came.notify_all()
        return self.answer(json.loads(body))

    async def came(self, count: int) -> list[dict[str, Any]]:
        """The first so many events, once they are there."""
        async with self._came:
            await asyncio.wait_for(self._came.wait_for(lambda: len(self.posts) >= count), 20)
        return [json.loads(body) for _, body in self.posts[:count]]


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hook", receiver.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    receiver.url = f"http://{host}:{port}/hook"
    yield receiver
    await runner.cleanup()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as one:
        yield one


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(delivery, "LONGEST_PAUSE_S", 0.01)


async def register(server: Server, url: str, name: str = "crm", status: int = 201, **more: Any) -> Any:
    answer = await server.http.put(f"/v1/webhooks/{name}", json={"url": url, **more})
    assert answer.status_code == status, answer.text
    return answer.json()


async def until(server: Server, name: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The webhook, as soon as that is so."""
    async with asyncio.timeout(20):
        while True:
            view: dict[str, Any] = await server.get(f"/v1/webhooks/{name}")
            if holds(view):
                return view


async def told_of(server: Server, receiver: Receiver, count: int = 2) -> list[dict[str, Any]]:
    """Starts an instance; what the receiver heard by then."""
    before = len(receiver.posts)
    await server.start("approval")
    return (await receiver.came(before + count))[before:]


async def test_a_receiver_is_told_of_every_change_of_status_in_order(
    server: Server, receiver: Receiver
) -> None:
    """S103."""
    await server.deploy(APPROVAL, "approval")
    await server.start("approval")
    await register(server, receiver.url, topics=[STATE_CHANGED])
    one = await server.start("approval")
    await server.post(f"/v1/instances/{one['id']}/signals/answer", YES)
    events = await receiver.came(4)
    assert [(e["data"]["previousStatus"], e["data"]["newStatus"]) for e in events] == [
        ("pending", "running"),
        ("running", "waiting"),
        ("waiting", "running"),
        ("running", "completed"),
    ]
    assert all(e["data"]["instanceId"] == e["subject"] == one["id"] for e in events)
    assert all(e["type"] == STATE_CHANGED and e["data"]["reason"] for e in events)


async def test_posts_are_signed_as_standard_webhooks_has_it(server: Server, receiver: Receiver) -> None:
    await server.deploy(APPROVAL, "approval")
    made = await register(server, receiver.url, topics=["WaitStarted"])
    given = await register(server, receiver.url, "other", topics=["WaitStarted"], secret=SECRET)
    assert given["secret"] == SECRET
    await server.start("approval")
    await receiver.came(2)
    verified = set()
    for headers, body in receiver.posts:
        lower = {name.lower(): value for name, value in headers.items()}
        for secret in (made["secret"], SECRET):
            try:
                standardwebhooks.Webhook(secret).verify(body, lower)
            except standardwebhooks.WebhookVerificationError:
                continue
            verified.add(secret)
    assert verified == {made["secret"], SECRET}


async def test_a_secret_is_shown_once_and_is_not_in_the_log(server: Server, receiver: Receiver) -> None:
    made = await register(server, receiver.url)
    assert "secret" not in await register(server, receiver.url, status=200)
    assert "secret" not in await server.get("/v1/webhooks/crm")
    events = await server.wiring.store.read("webhook/default/crm")
    assert [event.topic for event in events] == ["WebhookRegistered"]
    assert made["secret"].encode() not in events[0].payload
    rotated = await register(server, receiver.url, status=200, secret=SECRET)
    assert rotated["secret"] == SECRET


async def test_what_is_refused_is_sent_again_and_nothing_overtakes_it(
    server: Server, receiver: Receiver
) -> None:
    await server.deploy(APPROVAL, "approval")
    refusals = iter([500, 302, 404])
    receiver.answer = lambda _: web.Response(status=next(refusals, 204))
    await register(server, receiver.url, topics=[STATE_CHANGED])
    await server.start("approval")
    events = await receiver.came(5)
    assert len({event["id"] for event in events[:4]}) == 1
    assert events[4]["id"] != events[0]["id"]
    ids = {headers["webhook-id"] for headers, _ in receiver.posts[:4]}
    assert ids == {f"evt_{events[0]['id']}"}


async def test_a_receiver_that_refuses_for_ever_blocks_nobody_and_loses_nothing(
    server: Server, receiver: Receiver
) -> None:
    await server.deploy(APPROVAL, "approval")
    receiver.answer = lambda _: web.Response(status=500, text="out of order")
    async with receiving() as sound:
        await register(server, receiver.url, "broken", topics=[STATE_CHANGED])
        await register(server, sound.url, "sound", topics=[STATE_CHANGED])
        told = await told_of(server, sound)
        view = await until(server, "broken", lambda one: one["deadLetters"] == 2)
        assert view["lastError"] == "HTTP 500: out of order"
        assert len(receiver.posts) == 2 * delivery.MAX_ATTEMPTS
        letters = await server.get("/v1/webhooks/broken/dead-letters")
        assert [str(one["position"]) for one in letters["deadLetters"]] == [one["id"] for one in told]
        assert {one["attempts"] for one in letters["deadLetters"]} == {delivery.MAX_ATTEMPTS}

        again = await server.post("/v1/webhooks/broken/redeliver", {})
        assert again == {"delivered": 0, "remaining": 2, "error": "HTTP 500: out of order"}
        receiver.answer, before = taken, len(receiver.posts)
        again = await server.post(
            "/v1/webhooks/broken/redeliver", {"position": letters["deadLetters"][1]["position"]}
        )
        assert again == {"delivered": 1, "remaining": 1, "error": None}
        assert (await server.post("/v1/webhooks/broken/redeliver", {}))["remaining"] == 0
        assert [json.loads(body)["id"] for _, body in receiver.posts[before:]] == [
            told[1]["id"],
            told[0]["id"],
        ]


async def test_a_receiver_that_is_gone_is_told_no_more_until_it_is_registered_again(
    server: Server, receiver: Receiver
) -> None:
    await server.deploy(APPROVAL, "approval")
    receiver.answer = lambda _: web.Response(status=410)
    await register(server, receiver.url, topics=[STATE_CHANGED])
    await server.start("approval")
    view = await until(server, "crm", lambda one: one["disabled"] is not None)
    assert (view["disabled"], len(receiver.posts)) == ("it answered HTTP 410", 1)
    receiver.answer = taken
    await register(server, receiver.url, topics=[STATE_CHANGED], status=200)
    events = await receiver.came(3)
    assert events[0]["id"] == events[1]["id"], "it goes on where it was"


async def test_a_filter_by_definition_and_labels_holds_for_webhooks(
    server: Server, receiver: Receiver
) -> None:
    await server.deploy(APPROVAL, "approval")
    await register(
        server, receiver.url, topics=["InstanceStarted"], definition="approval", labels={"tier": "premium"}
    )
    await server.start("approval", labels={"tier": "gold"})
    wanted = await server.start("approval", labels={"tier": "premium"})
    assert [event["subject"] for event in await receiver.came(1)] == [wanted["id"]]


async def test_one_server_delivers_and_another_takes_over_without_a_gap(
    database: str, schema: str, receiver: Receiver
) -> None:
    async with serving(database, schema) as one:
        await one.deploy(APPROVAL, "approval")
        async with serving(database, schema) as two:
            await register(two, receiver.url, topics=["InstanceStarted"])
            first = await one.start("approval")
            await receiver.came(1)
            holding = [len(each.wiring.webhooks.deliveries) for each in (one, two)]
            assert sum(holding) == 1
        second = await one.start("approval")
    async with serving(database, schema) as three:
        third = await three.start("approval")
        events = await receiver.came(3)
        await until(three, "crm", lambda view: view["lagEvents"] == 0)
    assert [event["subject"] for event in events] == [first["id"], second["id"], third["id"]]
    assert len(receiver.posts) == 3


async def test_a_removed_webhook_hears_nothing_more_and_begins_anew_when_it_comes_back(
    server: Server, receiver: Receiver
) -> None:
    await server.deploy(APPROVAL, "approval")
    await register(server, receiver.url, topics=["InstanceStarted"])
    await told_of(server, receiver, 1)
    gone = await server.http.delete("/v1/webhooks/crm?reason=over")
    assert gone.json() == {"name": "crm", "removed": True}
    await server.get("/v1/webhooks/crm", 404)
    assert (await server.get("/v1/webhooks"))["webhooks"] == []
    await server.start("approval")
    await register(server, receiver.url, topics=["InstanceStarted"])
    (told,) = await told_of(server, receiver, 1)
    assert len(receiver.posts) == 2
    topics = [event.topic for event in await server.wiring.store.read("webhook/default/crm")]
    assert topics == ["WebhookRegistered", "WebhookRemoved", "WebhookRegistered"]
    assert told["subject"]


async def test_a_server_that_stops_in_the_middle_of_an_attempt_hands_it_over(
    database: str, schema: str, receiver: Receiver
) -> None:
    receiver.answer = lambda _: web.Response(status=503, headers={"Retry-After": "3600"})
    async with serving(database, schema) as one:
        await one.deploy(APPROVAL, "approval")
        await register(one, receiver.url, topics=["InstanceStarted"])
        await one.start("approval")
        view = await until(one, "crm", lambda each: each["attempts"] == 1)
        assert view["lastError"] == "HTTP 503"
        assert view["nextAttemptAt"] > view["lastErrorAt"]
    wiring = wired(database, services={}, lease_seconds=5.0, schema=schema, views=f"{schema}_views")
    async with wiring as parts:
        (progress,) = [progress for _, progress in await parts.webhooks.of("default")]
        assert progress is not None
        assert progress.attempts == 1, "what was tried is not forgotten"
        assert progress.next_attempt_at is not None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"url": "ftp://crm.example/"}, "bad-webhook-url"),
        ({"url": "https://ann:secret@crm.example/"}, "bad-webhook-url"),
        ({"url": "http://"}, "bad-webhook-url"),
        ({"url": "https://crm.example/", "secret": "whsec_short"}, "bad-secret"),
        ({"url": "https://crm.example/", "topics": ["Nonsense"]}, "invalid-parameter"),
        ({"url": "https://crm.example/", "nonsense": 1}, "invalid-body"),
    ],
)
async def test_what_does_not_fit_is_refused_and_registers_nothing(
    server: Server, body: dict[str, Any], said: str
) -> None:
    answer = await server.http.put("/v1/webhooks/crm", json=body)
    assert (answer.status_code, answer.json()["type"]) == (422, f"urn:tenuto:problem:{said}")
    assert (await server.http.get("/v1/webhooks/crm")).json()["type"] == "urn:tenuto:problem:unknown-webhook"


async def test_there_are_only_so_many_webhooks(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domain.webhooks.MAX_WEBHOOKS", 1)
    await register(server, "http://127.0.0.1:9/", "one")
    refused = await register(server, "http://127.0.0.1:9/", "two", status=422)
    assert refused["type"] == "urn:tenuto:problem:limit-exceeded"


async def test_what_is_no_dead_letter_is_not_redelivered(server: Server) -> None:
    await register(server, "http://127.0.0.1:9/")
    refused = await server.post("/v1/webhooks/crm/redeliver", {"position": 7}, 404)
    assert refused["type"] == "urn:tenuto:problem:unknown-dead-letter"
