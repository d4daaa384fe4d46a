"""Which status may follow which: the brief's table (S104–S109), read by the code, the tests and the documentation."""

from __future__ import annotations

from types import MappingProxyType

from domain.errors import InvalidTransitionError
from domain.events import Status

TRANSITIONS: MappingProxyType[Status, frozenset[Status]] = MappingProxyType(
    {
        "pending": frozenset({"running", "failed"}),
        "running": frozenset({"waiting", "completed", "failed", "compensating"}),
        "waiting": frozenset({"running", "failed", "compensating"}),
        "compensating": frozenset({"completed", "failed"}),
        "completed": frozenset(),
        "failed": frozenset(),
    }
)
TERMINAL: frozenset[Status] = frozenset(status for status, after in TRANSITIONS.items() if not after)


def check_transition(from_status: Status, to: Status, reason: str) -> None:
    """Raises InvalidTransitionError, naming both, when the table does not have it."""
    if to not in TRANSITIONS[from_status]:
        raise InvalidTransitionError(from_status=from_status, to_status=to, reason=reason)
