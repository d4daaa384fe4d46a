"""Lists of many instances, from the projections: as old as the position they name, and fresh enough when asked."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from api.errors import InvalidParameterError, NotFreshError
from api.routes import examples
from api.routes.paging import DEFAULT_PAGE, Cursor, Limit
from api.routing import Routes
from api.wiring import namespace_of, reply, wiring_of
from domain.durations import parse_duration
from domain.events import Outcome, Status
from domain.executions import WaitingFor
from domain.status import TRANSITIONS
from projections.queries import InstanceFilters, TransitionFilters

routes = Routes("lists")

FRESH_WITHIN_S = 5.0
"""How long a list waits for the position that it was asked to show."""

Text = Annotated[str | None, Query(max_length=256)]
Moment = Annotated[datetime | None, Query(description="RFC 3339, with a zone.", examples=[examples.AT])]
MinPosition = Annotated[
    int | None,
    Query(
        alias="minPosition",
        ge=0,
        le=2**53,
        description="Wait until the list shows this position (`Tenuto-Position` of a start).",
        examples=[4711],
    ),
]


@routes.add(
    "GET", "/v1/instances", answers={200: {"instances": [examples.SUMMARY], "next": None, "position": 4711}}
)
async def list_instances(
    request: Request,
    *,
    status: Annotated[
        list[Status] | None, Query(description="Any of these; repeatable.", examples=[["waiting"]])
    ] = None,
    outcome: Annotated[list[Outcome] | None, Query(description="Any of these; repeatable.")] = None,
    definition: Text = None,
    version: Text = None,
    correlation_id: Annotated[
        str | None, Query(alias="correlationId", max_length=256, examples=["order-17"])
    ] = None,
    parent: Annotated[str | None, Query(max_length=256, description="Children of this instance.")] = None,
    waiting_for: Annotated[
        list[WaitingFor] | None,
        Query(alias="waitingFor", description="Any of these; repeatable.", examples=[["signal"]]),
    ] = None,
    labels: Annotated[
        list[str] | None,
        Query(description="`key=value`, repeatable: all must match.", examples=[["tier=premium"]]),
    ] = None,
    paused: bool | None = None,
    created_after: Annotated[Moment, Query(alias="createdAfter")] = None,
    created_before: Annotated[Moment, Query(alias="createdBefore")] = None,
    business_status: Annotated[str | None, Query(alias="businessStatus", max_length=256)] = None,
    text: Annotated[
        str | None,
        Query(
            max_length=256,
            description="Words it was born with: of its id, correlation id, labels, input. All must be there; "
            "`ada*` is any word that begins so.",
            examples=["lovelace"],
        ),
    ] = None,
    younger_than: Annotated[
        str | None,
        Query(alias="youngerThan", description="Created no longer ago than this.", examples=["5m"]),
    ] = None,
    older_than: Annotated[
        str | None, Query(alias="olderThan", description="Created longer ago than this.", examples=["1h"])
    ] = None,
    limit: Limit = DEFAULT_PAGE,
    cursor: Cursor = None,
    min_position: MinPosition = None,
) -> Response:
    """List instances.

    Newest first; every filter given must hold. As new as `position`: pass `minPosition` to see what you just did.
    """
    wiring = wiring_of(request)
    zoned("createdAfter", created_after)
    zoned("createdBefore", created_before)
    if older_than is not None:
        age = wiring.clock.now() - timedelta(milliseconds=parse_duration(older_than))
        created_before = age if created_before is None else min(age, created_before)
    if younger_than is not None:
        age = wiring.clock.now() - timedelta(milliseconds=parse_duration(younger_than))
        created_after = age if created_after is None else max(age, created_after)
    filters = InstanceFilters(
        namespace=namespace_of(request),
        statuses=status or (),
        outcomes=outcome or (),
        definition=definition,
        version=version,
        correlation_id=correlation_id,
        parent=parent,
        waiting_for=waiting_for or (),
        labels=_labels(labels or []),
        text=text,
        business_status=business_status,
        paused=paused,
        created_after=created_after,
        created_before=created_before,
    )
    await fresh(request, "instances", min_position)
    if text is not None:
        await fresh(request, "words", min_position)
    page = await wiring.queries.list_instances(filters, limit=limit, cursor=cursor)
    return reply({"instances": page.items, "next": page.next, "position": page.position})


@routes.add(
    "GET", "/v1/instances/counts", answers={200: {"counts": dict.fromkeys(TRANSITIONS, 0) | {"waiting": 3}}}
)
async def count_instances(
    request: Request, *, definition: Text = None, min_position: MinPosition = None
) -> Response:
    """Count instances by status, from counters."""
    await fresh(request, "definition_statistics", min_position)
    found = await wiring_of(request).queries.count_by_status(namespace_of(request), definition)
    return reply({"counts": dict.fromkeys(TRANSITIONS, 0) | found})


@routes.add(
    "GET",
    "/v1/transitions",
    answers={200: {"transitions": [examples.TRANSITION_LINE], "next": None, "position": 4711}},
)
async def list_transitions(
    request: Request,
    *,
    instance: Annotated[str | None, Query(max_length=256, examples=[examples.ID])] = None,
    definition: Text = None,
    from_status: Annotated[Status | None, Query(alias="from")] = None,
    to_status: Annotated[Status | None, Query(alias="to", examples=["failed"])] = None,
    actor: Text = None,
    after: Moment = None,
    before: Moment = None,
    limit: Limit = DEFAULT_PAGE,
    cursor: Cursor = None,
    min_position: MinPosition = None,
) -> Response:
    """Audit the transitions of all instances.

    Every change of status with its reason and who asked for it, newest first.
    """
    zoned("after", after)
    zoned("before", before)
    filters = TransitionFilters(
        namespace=namespace_of(request),
        instance=instance,
        definition=definition,
        from_status=from_status,
        to_status=to_status,
        actor=actor,
        at_after=after,
        at_before=before,
    )
    await fresh(request, "transitions", min_position)
    page = await wiring_of(request).queries.list_transitions(filters, limit=limit, cursor=cursor)
    return reply({"transitions": page.items, "next": page.next, "position": page.position})


async def fresh(request: Request, projection: str, position: int | None) -> None:
    """Raises NotFreshError when the projection does not come so far in time."""
    if position is not None and not await wiring_of(request).runner.wait_for(
        position, FRESH_WITHIN_S, projection
    ):
        raise NotFreshError(position=position, seconds=FRESH_WITHIN_S)


def _labels(pairs: list[str]) -> dict[str, str]:
    split = {pair: pair.partition("=") for pair in pairs}
    for pair, (key, equals, _) in split.items():
        if not (key and equals):
            raise InvalidParameterError(place="query", name="labels", value=pair, expected="key=value")
    return {key: value for key, _, value in split.values()}


def zoned(name: str, moment: Any) -> None:
    if moment is not None and moment.tzinfo is None:
        expected = "a time with its zone, for example 2026-11-23T12:00:00Z"
        raise InvalidParameterError(place="query", name=name, value=moment.isoformat(), expected=expected)
