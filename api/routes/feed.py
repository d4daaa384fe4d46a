"""The live feed of events, as server-sent events."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from api.bodies import MAX_TOPICS
from api.errors import InvalidParameterError
from api.event_stream import EventStream
from api.routes import examples
from api.routing import CALLER, Routes, Stream
from api.wiring import namespace_of, wiring_of
from feeds.messages import KNOWN_TOPICS, STATE_CHANGED, Filter

routes = Routes("feed")

Topics = Annotated[
    list[str] | None,
    Query(
        alias="topic",
        max_length=MAX_TOPICS,
        description=f"Any of these; repeatable. Names of events, or `{STATE_CHANGED}`.",
        examples=[[STATE_CHANGED]],
    ),
]
Labels = Annotated[
    list[str] | None,
    Query(description="`key=value`, repeatable: all must match.", examples=[["tier=premium"]]),
]
EXAMPLE = Stream(
    'id: 4711\ndata: {"specversion":"1.0","id":"4711","source":"/namespaces/default","type":"tenuto.StepCompleted",'
    f'"subject":"{examples.ID}","time":"{examples.AT}","datacontenttype":"application/json",'
    '"streamversion":5,"definition":"hello","data":{"execution":"greet#1","attempt":1}}\n\n'
)


@routes.add(
    "GET",
    "/v1/events",
    answers={200: EXAMPLE},
    problems=(429,),
    headers=(*CALLER, "Last-Event-ID"),
)
async def watch_events(
    request: Request,
    *,
    topic: Topics = None,
    definition: Annotated[str | None, Query(max_length=256)] = None,
    instance: Annotated[str | None, Query(max_length=256)] = None,
    labels: Labels = None,
    after: Annotated[
        str | None,
        Query(description="As `Last-Event-ID`, which goes first; 0 is the beginning.", examples=["0"]),
    ] = None,
) -> Response:
    """Watch events as they happen.

    Server-sent events, each a CloudEvents 1.0 envelope; `id` is its position in the log. With `Last-Event-ID` it goes
    on after that position, without it begins now. At least once, in the order of the log, of the caller's namespace.
    """
    filter = Filter(
        namespace=namespace_of(request),
        topics=frozenset(topics_of(topic)),
        definition=definition,
        instance=instance,
        labels=labels_of(labels),
    )
    wiring = wiring_of(request)
    held = wiring.feed.subscribe(filter, _position(request.headers.get("last-event-id"), after))
    return EventStream(wiring, await held.__aenter__(), held)


def topics_of(named: list[str] | None, place: str = "query") -> list[str]:
    """Raises InvalidParameterError: a misspelt topic must not wait for ever."""
    for one in named or []:
        if one not in KNOWN_TOPICS:
            expected = f"the name of an event (docs/reference/events.md) or {STATE_CHANGED}"
            raise InvalidParameterError(place=place, name="topic", value=one[:200], expected=expected)
    return named or []


def labels_of(pairs: list[str] | None) -> dict[str, str]:
    labels = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise InvalidParameterError(place="query", name="labels", value=pair[:200], expected="key=value")
        labels[key] = value
    return labels


def _position(header: str | None, query: str | None) -> int | None:
    text = header or query
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        place, name = ("header", "Last-Event-ID") if header else ("query", "after")
        expected = "a position: the `id` of an event of this feed"
        raise InvalidParameterError(place=place, name=name, value=text[:200], expected=expected)
    return int(text)
