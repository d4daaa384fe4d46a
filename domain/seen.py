"""What `$` holds when an expression is evaluated: data, and the reserved names that lie over it.

It is read in place, never copied: data may be large, and each step asks.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime

from domain.events import Json
from domain.executing import scope_in
from domain.paths import blocks_of
from domain.state import State
from domain.times import MILLISECOND, rfc3339


def seen_by(
    state: State, execution: str, reserved: dict[str, Json], local: dict[str, Json]
) -> Mapping[str, Json]:
    """What is `local` to this evaluation, the reserved names, the data of the items that the execution runs for, the
    innermost on top, and the instance's data."""
    if not local and not reserved and "[" not in execution:
        return state.data
    return ChainMap(local, reserved, *_of_items(state, execution), state.data)


def _of_items(state: State, execution: str) -> Iterator[dict[str, Json]]:
    for scope, index in blocks_of(execution):
        found = scope_in(state, scope)
        yield {"item": found.blocks[int(index)], "index": int(index)}
        if index in found.data:
            yield found.data[index]


def reserved_names(state: State, uses: Collection[str], at: datetime) -> dict[str, Json]:
    """Those of them that the definition uses."""
    names: dict[str, Json] = {}
    if "instance" in uses:
        names["instance"] = {
            "id": state.id,
            "correlationId": state.correlation_id,
            "startedAt": rfc3339(state.started_at or at),
        }
    if "now" in uses:
        names["now"] = rfc3339(at)
    if "deadlines" in uses:
        names["deadlines"] = {
            name: {
                "at": rfc3339(deadline.due_at),
                "remainingMs": (deadline.due_at - at) // MILLISECOND,
            }
            for name, deadline in state.deadlines.items()
        }
    if "lastError" in uses and state.last_error is not None:
        last = state.last_error
        names["lastError"] = {
            "step": last.step,
            "message": last.message,
            "code": last.code,
            "timestamp": rfc3339(last.timestamp),
        }
    if "compensation" in uses and state.rollback is not None:
        names["compensation"] = {"reason": state.rollback.reason, "trigger": state.rollback.trigger}
    return names
