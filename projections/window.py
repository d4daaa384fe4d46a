"""The newest part of the log, read and decoded once for all projections that stand at the same place.

Followers of one process come to a place one after the other, moments apart: the first reads the batch, the others find
it here. Reading in another's transaction is safe, because the log is only ever appended to, and without gaps. Each
follower keeps its own position, transaction and faults: a batch that this release cannot read whole is not kept, and
everyone reads it alone. Next: `projections/follower.py`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from collections.abc import Set as AbstractSet

from projections.log import Batch

KEPT = 4
"""Batches: as far as the slowest may fall behind the quickest and still read nothing itself."""


class Window:
    """`wanted` are the topics that any of its followers wants: decoded once, whoever comes first."""

    def __init__(self, wanted: AbstractSet[str]) -> None:
        self.wanted = wanted
        self._batches: deque[tuple[int, Batch]] = deque(maxlen=KEPT)  # (begins after position, batch)
        self._lock = threading.Lock()

    def seen(self, after: int) -> Batch | None:
        """What somebody has read of the log right after position `after`, or None."""
        for begin, batch in reversed(self._batches.copy()):
            if begin == after:
                return batch
            if begin < after < batch.position:
                rest = [logged for logged in batch.events if logged.position > after]
                return batch._replace(events=rest)
        return None

    def read(self, after: int, reading: Callable[[AbstractSet[str]], Batch]) -> Batch | None:
        """The batch after `after`: as it was seen, or as `reading` reads it now. None: read it alone."""
        with self._lock:
            found = self.seen(after)
            if found is None:
                found = reading(self.wanted)
                if found.problem is not None:
                    return None
                if found.events:
                    self._batches.append((after, found))
            return found
