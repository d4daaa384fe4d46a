"""One instance as it is, or was: always folded from its own log, so never older than the last answer.

Lists of many instances come from the projections (`api/routes/lists.py`); this file refuses to know them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from starlette.requests import Request

from api.errors import InvalidParameterError
from api.wiring import namespace_of, wiring_of
from domain.codec import decode
from domain.errors import UnknownInstanceError
from domain.evolve import evolve
from domain.history import Happened, instance_view, timed
from domain.state import State
from domain.times import rfc3339
from engine.engine import Engine
from engine.ports import Recorded

LOOK_BACK = 64
"""Events read first to find the stimulus of one in the middle of a log; then twice as many, and so on."""


async def state_of(
    request: Request, instance_id: str, *, version: int | None = None, at: datetime | None = None
) -> State:
    """Raises UnknownInstanceError, also for an instance of another namespace than the caller's."""
    state = await wiring_of(request).engine.state_of(instance_id, version=version, at=at)
    if state.version == 0 or state.namespace != namespace_of(request):
        raise UnknownInstanceError(instance_id=instance_id)
    return state


async def happened_of(engine: Engine, state: State) -> list[Happened]:
    """All events up to the state's version, with the time of each."""
    return list(happened(await engine.history(state.id, upto=state.version)))


def happened(recorded: list[Recorded]) -> list[Happened]:
    """From the first event on."""
    return list(timed((one.version, decode(one.topic, one.payload)) for one in recorded))


async def view_now(request: Request, instance_id: str) -> dict[str, Any]:
    """The Instance of the wire as it is now: one read of its log. Raises UnknownInstanceError, as `state_of`."""
    history = happened(await wiring_of(request).engine.history(instance_id))
    state = State(id=instance_id)
    for one in history:
        evolve(state, one.event)
    if state.namespace != namespace_of(request):
        raise UnknownInstanceError(instance_id=instance_id)
    return instance_view(state, history)


async def view_of(engine: Engine, state: State, *, include_history: bool = False) -> dict[str, Any]:
    """The Instance of the wire."""
    return instance_view(state, await happened_of(engine, state), include_history=include_history)


async def events_after(engine: Engine, instance_id: str, after: int, limit: int) -> list[dict[str, Any]]:
    """The log as it stands, payloads untouched; `at` is the time of the command that an event follows from."""
    recorded = await engine.history(instance_id, after=after, limit=limit)
    known = {one.version: one for one in await _led_up(engine, instance_id, after) if recorded}
    before = happened_in_the_middle([*known.values(), *recorded])
    return [
        {
            "version": one.version,
            "type": one.topic,
            "at": before[one.version],
            "payload": msgspec.Raw(one.payload),
        }
        for one in recorded
    ]


def happened_in_the_middle(recorded: list[Recorded]) -> dict[int, str]:
    """Version → time, for events that begin with, or after, a command's first."""
    times: dict[int, str] = {}
    said: str | None = None
    for one in recorded:
        at = _envelope.decode(one.payload).at
        said = said if at is None else rfc3339(at)
        if said is not None:
            times[one.version] = said
    return times


async def _led_up(engine: Engine, instance_id: str, after: int) -> list[Recorded]:
    """Enough events before `after` to hold the beginning of the command that was under way there."""
    size = LOOK_BACK
    while after > 0:
        start = max(0, after - size)
        found = await engine.history(instance_id, after=start, upto=after)
        if start == 0 or any(_envelope.decode(one.payload).at is not None for one in found):
            return found
        size *= 2
    return []


class _Envelope(msgspec.Struct):
    at: datetime | None = None


_envelope = msgspec.json.Decoder(_Envelope)


def expected_version(request: Request) -> int | None:
    """`If-Match`: the version that the instance must have, as its `ETag` said; None for any."""
    expected = request.headers.get("if-match")
    if expected in (None, "*"):
        return None
    named = expected.strip().removeprefix("W/").strip('"')
    if not named.isdecimal():
        raise InvalidParameterError(
            place="header", name="If-Match", value=expected, expected='a version, as "7"'
        )
    return int(named)
