"""What if this definition had been the one? A recorded history is run again on another definition.

    what_if(events, was, now_is, at) -> Verdict

Pure: nothing is called, nothing is stored. The recorded stimuli are fed to the new definition; what services answered
is matched by (path, visit, action) and attempt, never by token. Claims and leases are made anew. A timer that the
recorded run has too fires when it fired there; one of the new definition alone fires when it is due, in recorded time.
`record.py` is what was recorded, `rerun.py` runs it again, `route.py` compares the ways, `reasons.py` says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from domain.events import Event
from domain.whatif.reasons import Wording, verdict_of
from domain.whatif.record import Record
from domain.whatif.rerun import Rerun
from domain.whatif.verdict import Missing, Verdict

__all__ = ["Missing", "Verdict", "Wording", "what_if"]


def what_if(
    events: Sequence[Event],
    was: Wording,
    now_is: Wording,
    at: datetime,
    *,
    moved_to: Mapping[str, Wording] | None = None,
) -> Verdict:
    """`events` are a whole history, decided on `was` and, by version, on what it `moved_to`. `at`: no timer fires
    later than that.

    Raises CorruptHistoryError for a history that cannot be folded.
    """
    later = moved_to or {}
    record = Record(events, was.program, {version: wording.program for version, wording in later.items()})
    rerun = Rerun(record, now_is.program, at)
    rerun.run()
    told = None if rerun.met is None else rerun.met.told
    pinned = None if told is None else record.moved_to(told.version)
    return verdict_of(rerun, was if pinned is None else later[pinned], now_is)
