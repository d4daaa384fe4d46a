"""What a projection is: a table derived from the event log, which can be thrown away and made again at any
time.

It names its table, says which topics it reads, and applies a batch of events in order with one statement or
two. That rows and position are one transaction, that nothing is applied twice, and who drives it, is not its
business: see `projections/follower.py`. The list of all of them is `projections/catalogue.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Protocol

from psycopg import Cursor, sql

from projections.log import Logged
from projections.statements import Statements


class Projection(Protocol):
    """`name` is also the table's. One object works in one schema; `statements` has `create` (tables and
    indexes)."""

    @property
    def name(self) -> str: ...

    @property
    def wanted(self) -> AbstractSet[str]:
        """The topics it reads; of others it sees the envelope only."""
        ...

    @property
    def every_event(self) -> bool:
        """Whether events of other topics matter, too, by their version and time. If not, a batch without any that it
        wants may be passed over."""
        ...

    @property
    def statements(self) -> Statements: ...

    def apply(self, cursor: Cursor[Any], events: Sequence[Logged]) -> None:
        """Applies the events, in the caller's transaction. Raises CorruptHistoryError on an impossible
        history."""
        ...


Factory = Callable[[str, sql.Identifier], Projection]
"""(schema of the views, table of the log) → the projection."""
