"""The feed from Python: events across lost connections, each once, and what ends it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

import pytest
from aiohttp import web

from tenuto import AsyncClient, Client, InvalidInputError, ServerUnreachableError
from tests.tenuto.fake_server import Answers, answering


@pytest.fixture
def server() -> Iterator[Answers]:
    with answering() as answers:
        yield answers


def stream(*positions: int, beat: int | None = None, half: str = "") -> web.Response:
    """An answer that tells of these events and ends, perhaps in the middle of one."""
    text = "retry: 1000\n"
    if beat is not None:
        text += f": beat\nid: {beat}\n\n"
    for position in positions:
        text += f"id: {position}\ndata: {json.dumps({'id': str(position), 'type': 'tenuto.Paused'})}\n\n"
    return web.Response(text=text + half, content_type="text/event-stream")


def ids(server: Answers) -> list[str | None]:
    return [got.headers.get("Last-Event-ID") for got in server.got]


def test_it_goes_on_where_it_was_when_the_connection_is_lost(server: Answers) -> None:
    server.script += [stream(3, 4, half="id: 5\ndata: {"), "cut", stream(5, 6)]
    pauses: list[float] = []
    with Client(server.url, pause=pauses.append) as client:
        events = list(itertools.islice(client.feed(after=2), 4))
    assert [event["id"] for event in events] == ["3", "4", "5", "6"]
    assert ids(server) == ["2", "4", "4"]
    assert pauses == [0.1, 0.2]


async def test_awaited_it_is_the_same(server: Answers) -> None:
    server.script += [stream(3), "cut", stream(4)]

    async def pause(seconds: float) -> None:
        """No time passes."""

    async with AsyncClient(server.url, pause=pause) as client:
        found = []
        async for event in client.feed(after=2):
            found.append(event["id"])
            if len(found) == 2:
                break
    assert found == ["3", "4"]
    assert ids(server) == ["2", "3", "3"]


def test_a_beat_moves_the_place_where_it_goes_on(server: Answers) -> None:
    server.script += [stream(beat=7), stream(8)]
    with Client(server.url, pause=lambda _: None) as client:
        assert next(client.feed())["id"] == "8"
    assert ids(server) == [None, "7"]


def test_it_asks_for_what_was_chosen(server: Answers) -> None:
    server.script.append(stream(1))
    with Client(server.url) as client:
        next(client.feed(topics=["A", "B"], definition="order", instance="0-1", labels={"tier": "gold"}))
    assert sorted(server.got[0].query) == [
        ("definition", "order"),
        ("instance", "0-1"),
        ("labels", "tier=gold"),
        ("topic", "A"),
        ("topic", "B"),
    ]


def test_a_refusal_ends_it_unless_it_is_for_now_only(server: Answers) -> None:
    server.problem(503, "stopping", {"Retry-After": "2"})
    server.problem(422, "no such topic")
    pauses: list[float] = []
    with Client(server.url, pause=pauses.append) as client, pytest.raises(InvalidInputError):
        next(client.feed(topics="nonsense"))
    assert pauses == [2.0]


def test_after_many_tries_in_vain_the_caller_hears_of_it(server: Answers) -> None:
    server.script += ["cut"] * 3
    with Client(server.url, pause=lambda _: None) as client, pytest.raises(ServerUnreachableError):
        next(client.feed(tries=2))
    assert len(server.got) == 3
