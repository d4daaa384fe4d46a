"""The comparison itself: exported leaves, signed checkpoints and a live log, event after event, first difference first.

A checkpoint proves all events before it; an export names the leaf of each, so that what differs has a place. Any of the
three may be missing: an export is checked against its own checkpoints, a live log against checkpoints alone (then only
the stretch between two of them is known). Memory does not grow with the log. Next: `export.py`, `sources.py`.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Iterator
from typing import Literal

from msgspec import Struct

from tenuto.audit.errors import BadExportError, CutOffError, OtherLogError
from tenuto.audit.export import EXPORT, Line
from tenuto.audit.leaf import Row, leaf_of
from tenuto.audit.note import Checkpoint, Verifier, read_checkpoint
from tenuto.audit.tree import Frontier

What = Literal["changed", "missing", "inserted", "cut off", "unlocated"]
Lines = Iterable[tuple[int, Line]]


class Difference(Struct, frozen=True, kw_only=True):
    """The first place where two do not agree: leaf `index`, or somewhere from there up to `until`.

    `position` is that of the event in the log, as exported; `found` the position of what stands there now."""

    what: What
    index: int
    until: int
    position: int | None = None
    found: int | None = None
    said: str


class Report(Struct, frozen=True, kw_only=True):
    """What was found. `size`: so many events are proved by the last checkpoint that held; `uncovered`: so many more
    were read that no checkpoint covers; `compared`: so many were read from the live log."""

    origin: str
    key: str
    size: int
    checkpoints: int
    compared: int
    uncovered: int
    difference: Difference | None

    @property
    def ok(self) -> bool:
        return self.difference is None


class _FoundError(Exception):
    """Ends the comparison."""

    def __init__(self, difference: Difference) -> None:
        self.difference = difference


class Verification:
    """One comparison. `verifier` None trusts the key that the file names, which only proves that the file is whole."""

    def __init__(
        self,
        *,
        verifier: Verifier | None = None,
        origin: str | None = None,
        live: Iterable[Row] | None = None,
    ) -> None:
        self._verifier = verifier
        self._origin = origin
        self._live: Iterator[Row] | None = None if live is None else iter(live)
        self._frontier = Frontier()
        self._due: list[Checkpoint] = []
        self._roots: dict[int, bytes] = {}
        self._proved = self._checkpoints = self._compared = 0
        self._last_position = 0
        self._named = 0  # Leaves that an export names: up to there a difference has a place.

    def checked(self, export: Lines | None, checkpoints: Lines | None = None) -> Report:
        """Raises BadExportError, CutOffError, WrongKeyError, BadNoteError, OtherLogError; a difference is reported."""
        difference = None
        try:
            if checkpoints is not None:
                self._collect(checkpoints)
            if export is not None:
                self._read(export)
            self._catch_up()
        except _FoundError as found:
            difference = found.difference
        return Report(
            origin=self._origin or "",
            key=str(self._verifier or ""),
            size=self._proved,
            checkpoints=self._checkpoints,
            compared=self._compared,
            uncovered=self._frontier.size - self._proved,
            difference=difference,
        )

    # Files ---------------------------------------------------------------------

    def _begin(self, line: Line) -> None:
        if self._verifier is None:
            self._verifier = Verifier.read(line.key or "")
        if self._origin is None:
            self._origin = line.origin
        if line.origin != self._origin:
            raise OtherLogError(f"the file is of the log {line.origin}, not of {self._origin}")

    def _collect(self, lines: Lines) -> None:
        """Checkpoints kept elsewhere: they are due once so many leaves have been read."""
        for number, line in lines:
            if line.format is not None:
                self._begin(line)
            elif line.checkpoint is not None:
                self._due.append(self._opened(line.checkpoint))
            elif line.end is None and line.leaf is None:
                raise BadExportError(f"line {number} is no checkpoint")
        self._due.sort(key=lambda point: point.size)
        for point in self._due:
            if self._roots.setdefault(point.size, point.root) != point.root:
                raise _FoundError(self._forked(point))

    def _read(self, lines: Lines) -> None:
        ended = True
        for number, line in lines:
            if line.leaf is not None:
                ended = False
                self._leaf_line(number, line)
            elif line.checkpoint is not None:
                ended = False
                point = self._opened(line.checkpoint)
                if line.size != point.size or self._frontier.size != point.size:
                    raise BadExportError(
                        f"line {number}: a checkpoint of {point.size} events after {self._frontier.size} leaves"
                    )
                self._check(point)
            elif line.end is not None:
                ended = True
                if line.end != self._frontier.size:
                    raise BadExportError(
                        f"line {number}: the export had {line.end} leaves, here are {self._frontier.size}"
                    )
            elif line.format == EXPORT:
                self._begin(line)
            else:
                raise BadExportError(f"line {number} is none of an export")
        if not ended:
            raise CutOffError(f"the export is cut off after {self._frontier.size} leaves: it has no end")

    def _leaf_line(self, number: int, line: Line) -> None:
        index, position = self._frontier.size, line.position or 0
        if line.index != index or position <= self._last_position:
            raise BadExportError(f"line {number}: leaf {line.index} at position {position} is out of order")
        try:
            leaf = binascii.a2b_base64(line.leaf or "", strict_mode=True)
            row = line.row
        except binascii.Error as error:
            raise BadExportError(f"line {number}: {error}") from error
        if row is not None and leaf_of(row) != leaf:
            said = "the event in the export is not the one whose leaf it names"
            raise _FoundError(_difference("changed", index, position, position, said))
        if self._live is not None:
            self._compare(index, position, leaf, next(self._live, None))
        self._last_position = position
        self._named += 1
        self._grow(leaf)

    # The live log ----------------------------------------------------------------

    def _compare(self, index: int, position: int, leaf: bytes, row: Row | None) -> None:
        if row is None:
            said = f"the log ends after {index} events"
            raise _FoundError(_difference("cut off", index, position, None, said))
        self._compared += 1
        if leaf_of(row) == leaf:
            return
        if row.position == position:
            said = f"another event stands there: {row.topic} of {row.stream} version {row.version}"
            raise _FoundError(_difference("changed", index, position, row.position, said))
        if row.position > position:
            said = f"no event stands there; the next one is at position {row.position}"
            raise _FoundError(_difference("missing", index, position, row.position, said))
        said = f"an event that was not there stands before it, at position {row.position}"
        raise _FoundError(_difference("inserted", index, position, row.position, said))

    def _catch_up(self) -> None:
        """Of the live log, what the export does not have, as far as checkpoints reach."""
        while self._due:
            row = None if self._live is None else next(self._live, None)
            if row is None:
                until = self._due[-1].size
                said = f"a signed checkpoint has {until} events; here are {self._frontier.size}"
                index = max(self._proved, self._named)
                raise _FoundError(Difference(what="cut off", index=index, until=until, said=said))
            self._compared += 1
            self._grow(leaf_of(row))

    # Checkpoints -------------------------------------------------------------------

    def _grow(self, leaf: bytes) -> None:
        self._frontier.append(leaf)
        while self._due and self._due[0].size <= self._frontier.size:
            self._check(self._due.pop(0))

    def _check(self, point: Checkpoint) -> None:
        if self._roots.setdefault(point.size, point.root) != point.root:
            raise _FoundError(self._forked(point))
        if point.size == self._frontier.size and point.root != self._frontier.root:
            said = f"the signed checkpoint of {point.size} events has another root"
            raise _FoundError(Difference(what="unlocated", index=self._proved, until=point.size, said=said))
        self._checkpoints += 1
        self._proved = max(self._proved, point.size)

    def _forked(self, point: Checkpoint) -> Difference:
        said = f"two signed checkpoints of {point.size} events have two roots: the log was forked"
        return Difference(what="unlocated", index=self._proved, until=point.size, said=said)

    def _opened(self, note: str) -> Checkpoint:
        if self._verifier is None:
            raise BadExportError("the file does not begin with its origin and its key")
        point = read_checkpoint(self._verifier.opened(note))
        if point.origin != self._origin:
            raise OtherLogError(f"the checkpoint is of the log {point.origin}, not of {self._origin}")
        return point


def _difference(what: What, index: int, position: int, found: int | None, said: str) -> Difference:
    return Difference(what=what, index=index, until=index + 1, position=position, found=found, said=said)
