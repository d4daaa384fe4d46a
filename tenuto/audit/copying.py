"""Copies a server's log into a file, as far as a new checkpoint reaches; goes on where an earlier copy ended.

What is copied is checked while it is: every checkpoint must be the root of what was copied so far. Next: `export.py`.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tenuto.audit import export
from tenuto.audit.errors import AuditError, OtherLogError
from tenuto.audit.export import EXPORT, Line
from tenuto.audit.leaf import leaf_of
from tenuto.audit.note import Checkpoint, Verifier, read_checkpoint
from tenuto.audit.sources import PAGE, ask
from tenuto.audit.tree import Frontier


class Copied(NamedTuple):
    """How much the file holds now, and how much of it is new."""

    size: int
    added: int


class _Copy:
    """The file as far as it goes, and the tree over it."""

    def __init__(self, path: Path, origin: str, key: str) -> None:
        self.path = path
        self.frontier = Frontier()
        self.position = self.signed = 0
        self.ended = False
        self._verifier = Verifier.read(key)
        if path.exists():
            export.drop_unfinished(path)
        if path.exists() and path.stat().st_size:
            self._read(origin, key)
        else:
            export.append(path, Line(format=EXPORT, origin=origin, key=key))

    def _read(self, origin: str, key: str) -> None:
        for _, line in export.lines_of(self.path):
            if line.format is not None and (line.format, line.origin, line.key) != (EXPORT, origin, key):
                raise OtherLogError(f"{self.path} is of {line.origin}; the server's log is {origin}")
            if line.leaf is not None:
                self.frontier.append(_leaf(line))
                self.position = line.position or 0
            elif line.checkpoint is not None:
                self.signed = line.size or 0
            self.ended = line.end is not None

    def take(self, lines: list[Line], due: list[dict[str, Any]], target: int) -> None:
        """Adds leaves, with the checkpoints that are due between them."""
        written = []
        for line in lines:
            if self.frontier.size == target:
                break
            leaf = _leaf(line) if line.row is None else leaf_of(line.row)
            line.index = self.frontier.size
            self.frontier.append(leaf)
            self.position = line.position or 0
            written.append(line)
            written += self.checkpoints(due)
        export.append(self.path, *written)

    def checkpoints(self, due: list[dict[str, Any]]) -> Iterator[Line]:
        while due and due[0]["size"] <= self.frontier.size:
            told = msgspec.convert(due.pop(0), Line)
            point = self._opened(told.checkpoint or "")
            if point.size == self.frontier.size and point.root != self.frontier.root:
                raise AuditError(
                    f"the log is not the one that was signed: its first {point.size} events have another root. "
                    f"`tenuto audit verify` with an older export says where they part"
                )
            if point.size == self.frontier.size > self.signed:
                self.signed = point.size
                yield told

    def _opened(self, note: str) -> Checkpoint:
        return read_checkpoint(self._verifier.opened(note))


def copy_log(server: str, path: Path, *, events: bool = False) -> Copied:
    """Raises AuditError and its kin, and what the client raises."""
    standing = ask(server, "/v1/audit")
    newest = ask(server, "/v1/audit/checkpoints", method="POST")
    target = newest["size"]
    copy = _Copy(path, standing["origin"], standing["key"])
    before = copy.frontier.size
    due = [*_signed_since(server, copy.signed, target), newest]
    while copy.frontier.size < target:
        asked = {"after": copy.position, "limit": PAGE, "events": events}
        lines = msgspec.convert(ask(server, "/v1/audit/entries", asked)["entries"], list[Line])
        if not lines:
            raise AuditError(f"the log ends after {copy.frontier.size} events, and {target} were signed")
        copy.take(lines, due, target)
    last = list(copy.checkpoints(due))
    if last or copy.frontier.size > before or not copy.ended:
        export.append(path, *last, Line(end=copy.frontier.size))
    return Copied(copy.frontier.size, copy.frontier.size - before)


def _signed_since(server: str, size: int, upto: int) -> Iterator[dict[str, Any]]:
    """The checkpoints between two sizes, without the last."""
    after: str | None = str(size)
    while after is not None:
        page = ask(server, "/v1/audit/checkpoints", {"after": after, "limit": PAGE})
        yield from (one for one in page["checkpoints"] if one["size"] < upto)
        after = page["next"]


def _leaf(line: Line) -> bytes:
    try:
        return binascii.a2b_base64(line.leaf or "", strict_mode=True)
    except binascii.Error as error:
        raise AuditError(f"the leaf at position {line.position} is unreadable") from error
