"""One act on many instances: each is a command of its own, and what became of each is said.

A batch is no transaction: what was refused for one instance is no reason to leave out another. The instances come from
the list, a page at a time; a dry run decides the same commands and keeps none of their events.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from starlette.requests import Request

from api import problems
from api.acting import Make, asked_by
from api.bodies import FilterBody
from api.errors import InvalidBodyError, InvalidCursorError
from api.wiring import Caller, namespace_of, wiring_of
from domain.durations import parse_duration
from domain.errors import TenutoError
from domain.state import State
from domain.times import rfc3339
from engine.engine import Engine
from projections.queries import InstanceFilters

AT_ONCE = 64
"""Commands of one batch that are under way at a time: the engine's inbox is everybody's."""

Choose = Callable[[State], Make]
"""The command for an instance as it is; may refuse."""


class Selection(NamedTuple):
    """One page of the list. `before` is what `olderThan` came to on the first page: it must stay so on the next."""

    filters: InstanceFilters
    limit: int
    cursor: str | None
    before: datetime | None


def selected(request: Request, asked: FilterBody, limit: int, cursor: str | None) -> Selection:
    """Raises InvalidBodyError when nothing is asked for: everything is not meant by leaving all out."""
    if asked == FilterBody():
        raise InvalidBodyError(
            problem="a filter that is empty would mean every instance; say which", path="$.filter", errors=[]
        )
    created_before, before = asked.created_before, None
    if asked.older_than is not None:
        before, cursor = _since_the_first_page(cursor)
        now = wiring_of(request).clock.now()
        before = before or now - timedelta(milliseconds=parse_duration(asked.older_than))
        created_before = before if created_before is None else min(before, created_before)
    filters = InstanceFilters(
        namespace=namespace_of(request),
        statuses=asked.status,
        outcomes=asked.outcome,
        definition=asked.definition,
        version=asked.version,
        correlation_id=asked.correlation_id,
        parent=asked.parent,
        waiting_for=asked.waiting_for,
        labels=asked.labels,
        paused=asked.paused,
        created_after=asked.created_after,
        created_before=created_before,
    )
    return Selection(filters, limit, cursor, before)


def _since_the_first_page(cursor: str | None) -> tuple[datetime | None, str | None]:
    """A cursor of a batch with `olderThan` is `<moment>/<cursor of the list>`."""
    if cursor is None:
        return None, None
    moment, _, rest = cursor.partition("/")
    try:
        before = datetime.fromisoformat(moment)
    except ValueError:
        raise InvalidCursorError(cursor=cursor) from None
    if before.tzinfo is None:
        raise InvalidCursorError(cursor=cursor)
    return before, rest


async def act_on_all(
    request: Request, selection: Selection, choose: Choose, caller: Caller, reason: str, *, dry_run: bool
) -> dict[str, Any]:
    """One page: `{results, counts, dryRun, next, position}`."""
    wiring = wiring_of(request)
    page = await wiring.queries.list_instances(
        selection.filters, limit=selection.limit, cursor=selection.cursor
    )
    results: list[dict[str, Any]] = []
    for begin in range(0, len(page.items), AT_ONCE):
        some = page.items[begin : begin + AT_ONCE]
        acts = (_act_on(wiring.engine, one.id, choose, caller, reason, dry_run=dry_run) for one in some)
        results += await asyncio.gather(*acts)
    more = page.next
    if more is not None and selection.before is not None:
        more = f"{rfc3339(selection.before)}/{more}"
    return {
        "results": results,
        "counts": dict(Counter(one["result"] for one in results)),
        "dryRun": dry_run,
        "next": more,
        "position": page.position,
    }


async def _act_on(
    engine: Engine, instance_id: str, choose: Choose, caller: Caller, reason: str, *, dry_run: bool
) -> dict[str, Any]:
    """`result` is `done` (`possible` in a dry run), `unchanged` or `refused`; a refusal comes with its problem."""
    try:
        state = await engine.state_of(instance_id)
        command = asked_by(caller, reason, choose(state))
        if dry_run:
            events: Sequence[Any] = await engine.preview(instance_id, command)
            status, version = state.status, state.version
        else:
            answer = await engine.act(instance_id, command)
            events, status, version = answer.events, answer.status, answer.version
    except TenutoError as refusal:
        return {"instanceId": instance_id, "result": "refused", "problem": problems.described(refusal)}
    result = "unchanged" if not events else "possible" if dry_run else "done"
    return {"instanceId": instance_id, "result": result, "status": status, "version": version}
