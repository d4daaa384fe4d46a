"""The live feed: what a consumer is told, from where on, and what becomes of one that hangs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec.structs import replace

import feeds.feed
from api import event_stream
from api.app import create_app
from engine.clock import SystemClock
from tests.api.conftest import APPROVAL, HELLO, Server, serving

STATE_CHANGED = "workflow.state.changed"
YES = {"signalId": "s-1", "payload": "yes"}


class Consumer:
    """A raw ASGI call, so that a test decides when what was sent is taken."""

    def __init__(self, server: Server, query: str = "", headers: dict[str, str] | None = None) -> None:
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.takes = asyncio.Event()
        self.takes.set()
        self.gone = asyncio.Event()
        self.text = ""
        self._beaten: list[int] = []
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/v1/events",
            "raw_path": b"/v1/events",
            "query_string": query.encode(),
            "headers": [(k.lower().encode(), v.encode()) for k, v in (headers or {}).items()],
            "http_version": "1.1",
            "scheme": "http",
            "server": ("tenuto", 80),
            "client": ("test", 1),
            "root_path": "",
        }
        self.call = asyncio.ensure_future(create_app(server.wiring)(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        await self.takes.wait()
        await self.sent.put(message)

    async def started(self) -> Consumer:
        """Its place in the log is taken."""
        message = await asyncio.wait_for(self.sent.get(), 10)
        assert message["status"] == 200, message
        await self._take()
        return self

    async def _take(self) -> None:
        message = await asyncio.wait_for(self.sent.get(), 10)
        self.text += message["body"].decode()

    async def next(self) -> dict[str, Any]:
        """The next event that it is told, with its id."""
        while True:
            block, complete, rest = self.text.partition("\n\n")
            if not complete:
                await self._take()
                continue
            self.text = rest
            fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
            if "data" in fields:
                event: dict[str, Any] = json.loads(fields["data"])
                assert event["id"] == fields["id"]
                return event
            self._beaten.append(int(fields["id"]))

    async def ended(self) -> None:
        await asyncio.wait_for(self.call, 10)


@asynccontextmanager
async def consuming(server: Server, query: str = "", **headers: str) -> AsyncIterator[Consumer]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    consumer = await Consumer(server, query, named).started()
    yield consumer
    consumer.gone.set()
    consumer.takes.set()
    await consumer.ended()


def name_of(event: dict[str, Any]) -> str:
    return str(event["type"]).rpartition(".")[2]


async def log_of(server: Server, instance: str) -> list[str]:
    return [one["type"] for one in (await server.get(f"/v1/instances/{instance}/events"))["events"]]


async def test_without_an_id_it_starts_now_and_tells_everything_in_order(server: Server) -> None:
    await server.deploy(APPROVAL, "approval")
    await server.start("approval")
    async with consuming(server) as consumer:
        one = await server.start("approval", labels={"tier": "premium"})
        expected = await log_of(server, one["id"])
        told = [await consumer.next() for _ in expected]
    assert [name_of(event) for event in told] == expected
    assert {event["subject"] for event in told} == {one["id"]}
    positions = [int(event["id"]) for event in told]
    assert positions == sorted(set(positions))


async def test_an_event_comes_in_a_cloudevents_envelope_with_the_time_of_its_command(server: Server) -> None:
    await server.deploy(APPROVAL, "approval")
    async with consuming(server, "topic=WaitStarted") as consumer:
        one = await server.start("approval")
        event = await consumer.next()
    assert event == {
        "specversion": "1.0",
        "id": event["id"],
        "source": "/namespaces/default",
        "type": "tenuto.WaitStarted",
        "subject": one["id"],
        "time": one["createdAt"],
        "datacontenttype": "application/json",
        "streamversion": event["streamversion"],
        "definition": "approval",
        "data": event["data"],
    }
    assert event["data"]["signal"] == "answer"


async def test_it_goes_on_after_the_last_event_id_and_skips_and_repeats_nothing(server: Server) -> None:
    await server.deploy(APPROVAL, "approval")
    one = await server.start("approval")
    expected = ["DefinitionDeployed", *await log_of(server, one["id"])]
    async with consuming(server, "after=0") as consumer:
        whole = [await consumer.next() for _ in expected]
    assert [name_of(event) for event in whole] == expected
    for number, last in enumerate(whole[:-1], 1):
        async with consuming(server, Last_Event_ID=last["id"]) as consumer:
            rest = [await consumer.next() for _ in expected[number:]]
        assert rest == whole[number:]


async def test_the_state_changes_of_the_brief_are_told_under_their_name(server: Server) -> None:
    await server.deploy(APPROVAL, "approval")
    async with consuming(server, f"topic={STATE_CHANGED}") as consumer:
        one = await server.start("approval")
        await server.post(f"/v1/instances/{one['id']}/signals/answer", YES)
        changes = [await consumer.next() for _ in range(4)]
    assert {event["type"] for event in changes} == {STATE_CHANGED}
    assert [(c["data"]["previousStatus"], c["data"]["newStatus"]) for c in changes] == [
        ("pending", "running"),
        ("running", "waiting"),
        ("waiting", "running"),
        ("running", "completed"),
    ]
    assert all(c["data"]["instanceId"] == one["id"] and c["data"]["reason"] for c in changes)


@pytest.mark.parametrize(
    "query",
    ["definition=approval", "labels=tier%3Dpremium&labels=a%3D1", "instance={id}", "topic=WaitStarted"],
)
async def test_a_filter_keeps_out_what_was_not_asked_for(server: Server, query: str) -> None:
    await server.deploy(APPROVAL, "approval")
    await server.deploy(HELLO, "hello")
    chosen = await server.start("approval", labels={"tier": "premium", "a": "1"})
    await server.start("hello", labels={"tier": "premium"})
    async with consuming(server, f"after=0&{query.format(id=chosen['id'])}") as consumer:
        told = [await consumer.next()]
        await server.start("hello", labels={"tier": "gold", "a": "1"})
        await server.post(f"/v1/instances/{chosen['id']}/signals/answer", YES)
        if "topic" not in query:
            while name_of(told[-1]) != "WaitEnded":
                told.append(await consumer.next())
    subjects = {event["subject"] for event in told} - {"definition/default/approval"}
    assert subjects == {chosen["id"]}


async def test_a_namespace_hears_of_its_own_only(server: Server) -> None:
    await server.deploy(APPROVAL, "approval")
    async with consuming(server, "after=0", Tenuto_Namespace="other") as other:
        answer = await server.http.put(
            "/v1/definitions/hello",
            content=HELLO,
            headers={"Content-Type": "application/yaml", "Tenuto-Namespace": "other"},
        )
        assert answer.status_code == 201
        event = await other.next()
    assert (event["subject"], event["source"]) == ("definition/other/hello", "/namespaces/other")


async def test_what_another_server_commits_is_told_here(database: str, schema: str) -> None:
    async with serving(database, schema) as one, serving(database, schema) as two:
        await one.deploy(APPROVAL, "approval")
        async with consuming(two, "topic=InstanceStarted") as consumer:
            started = await one.start("approval")
            assert (await consumer.next())["subject"] == started["id"]


async def test_a_consumer_that_hangs_slows_nobody_and_loses_nothing(server: Server) -> None:
    await server.deploy(APPROVAL, "approval")
    async with (
        consuming(server, "topic=InstanceStarted") as hung,
        consuming(server, "topic=InstanceStarted") as quick,
    ):
        hung.takes.clear()
        ids = [(await server.start("approval"))["id"] for _ in range(20)]
        assert [(await quick.next())["subject"] for _ in ids] == ids
        assert hung.sent.empty()
        hung.takes.set()
        assert [(await hung.next())["subject"] for _ in ids] == ids


class Impatient(SystemClock):
    """A clock on which whoever waits for a minute has waited long enough when the test says so."""

    over: asyncio.Event

    async def sleep(self, seconds: float) -> None:
        await (self.over.wait() if seconds == event_stream.STALLED_S else super().sleep(seconds))


async def test_a_consumer_that_takes_nothing_for_long_is_cut_off(server: Server) -> None:
    clock = await Impatient.measured(server.wiring.store)
    clock.over = asyncio.Event()
    await server.deploy(APPROVAL, "approval")
    consumer = await Consumer(
        Server(replace(server.wiring, clock=clock), server.http, server.folder)
    ).started()
    assert server.wiring.feed.consumers == 1
    consumer.takes.clear()
    await server.start("approval")
    clock.over.set()
    await consumer.ended()
    assert server.wiring.feed.consumers == 0


async def test_it_ends_when_the_server_drains_and_when_the_consumer_goes(server: Server) -> None:
    async with consuming(server):
        assert server.wiring.feed.consumers == 1
    assert server.wiring.feed.consumers == 0
    consumer = await Consumer(server).started()
    server.wiring.draining.set()
    await consumer.ended()
    assert server.wiring.feed.consumers == 0


async def test_a_beat_comes_when_nothing_does_and_remembers_the_position(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "BEAT_S", 0.0)
    await server.deploy(APPROVAL, "approval")
    async with consuming(server, "topic=StepFailed") as consumer:
        await server.start("approval")
        head = await server.wiring.feed._tail.log.head()
        while f"id: {head}\n\n" not in consumer.text:
            await consumer._take()
    assert ": beat\n" in consumer.text
    assert "data:" not in consumer.text


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("topic=Nonsense", "invalid-parameter"),
        ("labels=nonsense", "invalid-parameter"),
        ("after=-1", "invalid-parameter"),
        ("after=9999999999", "unknown-position"),
        ("nonsense=1", "unknown-parameter"),
    ],
)
async def test_what_does_not_fit_is_refused_with_a_reason(server: Server, query: str, said: str) -> None:
    answer = await server.http.get(f"/v1/events?{query}")
    assert (answer.status_code, answer.json()["type"]) == (422, f"urn:tenuto:problem:{said}")


async def test_there_are_only_so_many_consumers(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds.feed, "MAX_CONSUMERS_OF_ONE", 1)
    monkeypatch.setattr(feeds.feed, "MAX_CONSUMERS", 2)
    async with consuming(server), consuming(server, Tenuto_Namespace="other"):
        refused = await server.http.get("/v1/events")
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        monkeypatch.setattr(feeds.feed, "MAX_CONSUMERS", 3)
        refused = await server.http.get("/v1/events")
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "5")
        assert refused.json()["type"] == "urn:tenuto:problem:too-many-consumers"
