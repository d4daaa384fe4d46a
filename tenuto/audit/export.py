"""The files that outlive a database: exports of the log, and checkpoints alone. One JSON object on each line.

    {"format": "tenuto-export/1", "origin": …, "key": …}                  the first line; or tenuto-checkpoints/1
    {"index": 0, "position": 1, "leaf": …}                                one leaf; with --events also the event:
    {…, "stream": …, "version": …, "topic": …, "payload": …}              (payload64 where the bytes are no UTF-8)
    {"checkpoint": …, "size": …, "position": …, "at": …}                  after the leaf that it ends with
    {"end": 1000}                                                         how many leaves an export has: its last line

A file is only ever added to, and one that was cut in half has no end. What the lines prove is the business of
`verifying.py`.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO

import msgspec
from msgspec import Struct

from tenuto.audit.errors import BadExportError, CutOffError
from tenuto.audit.leaf import Row

EXPORT = "tenuto-export/1"
CHECKPOINTS = "tenuto-checkpoints/1"


class Line(Struct, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """Any line; which one it is, its fields say."""

    format: str | None = None
    origin: str | None = None
    key: str | None = None
    index: int | None = None
    position: int | None = None
    leaf: str | None = None
    stream: str | None = None
    version: int | None = None
    topic: str | None = None
    payload: str | None = None
    payload64: str | None = None
    checkpoint: str | None = None
    size: int | None = None
    at: datetime | None = None
    end: int | None = None

    @property
    def row(self) -> Row | None:
        """The event that the line carries."""
        if self.stream is None or self.position is None or self.version is None:
            return None
        payload = None if self.payload is None else self.payload.encode()
        if self.payload64 is not None:
            payload = base64.b64decode(self.payload64)
        return Row(self.position, self.stream, self.version, self.topic, payload)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Line)


def written(line: Line) -> bytes:
    return _encoder.encode(line) + b"\n"


def leaf_line(index: int, leaf: bytes, row: Row, *, events: bool) -> Line:
    line = Line(index=index, position=row.position, leaf=base64.b64encode(leaf).decode())
    if events:
        line.stream, line.version, line.topic = row.stream, row.version, row.topic
        if row.payload is not None:
            try:
                line.payload = row.payload.decode()
            except UnicodeDecodeError:
                line.payload64 = base64.b64encode(row.payload).decode()
    return line


def lines_of(path: Path) -> Iterator[tuple[int, Line]]:
    """Every line with its number, the first one checked. Raises CutOffError, BadExportError."""
    with path.open("rb") as file:
        yield from _lines(file, path.name)


def _lines(file: IO[bytes], name: str) -> Iterator[tuple[int, Line]]:
    number = 0
    for number, text in enumerate(file, start=1):
        if not text.endswith(b"\n"):
            raise CutOffError(f"{name} is cut off in line {number}: it has no end of line")
        try:
            line = _decoder.decode(text)
        except msgspec.MsgspecError as error:
            raise BadExportError(f"{name} line {number} is no line of an export: {error}") from error
        if (number == 1) != (line.format is not None):
            raise BadExportError(f"{name} is no export of Tenuto, or one put together: line {number}")
        if number == 1 and (line.format not in (EXPORT, CHECKPOINTS) or not line.origin or not line.key):
            raise BadExportError(f"{name} has a format that this release does not know: {line.format}")
        yield number, line
    if number == 0:
        raise CutOffError(f"{name} is empty")


def drop_unfinished(path: Path) -> None:
    """Cuts away the end of a line that was never finished, because its writer died."""
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        while end and _byte(file, end - 1) != b"\n":
            end -= 1
        file.truncate(end)
        os.fsync(file.fileno())


def append(path: Path, *lines: Line) -> None:
    """Adds lines, durably: they are on the disk when this returns."""
    created = not path.exists()
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    with os.fdopen(handle, "ab") as file:
        file.write(b"".join(map(written, lines)))
        file.flush()
        os.fsync(file.fileno())
    if created:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _byte(file: IO[bytes], at: int) -> bytes:
    file.seek(at)
    return file.read(1)
