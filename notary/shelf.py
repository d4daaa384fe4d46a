"""The folder that checkpoints are exported to: `checkpoints.jsonl`, only ever added to, and the newest as a note.

What stands there binds the notary: it signs nothing that does not go on from the last of them. The form of the file is
`tenuto/audit/export.py`'s.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from notary.errors import LogInconsistentError, NotExportedError
from tenuto.audit import export
from tenuto.audit.errors import AuditError
from tenuto.audit.export import CHECKPOINTS, Line
from tenuto.audit.note import Checkpoint, Verifier, read_checkpoint

FILE = "checkpoints.jsonl"
NEWEST = "checkpoint"
TAIL_BYTES = 64 * 1024
"""A line is far shorter; so much of the end is read to find the last one."""

_line = msgspec.json.Decoder(Line)


class Signed(NamedTuple):
    """A checkpoint with its signature. `position` is that of its last event; that and `at` are not signed."""

    checkpoint: Checkpoint
    position: int
    at: datetime
    note: str


class Shelf:
    """One folder, for one log and one key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / FILE

    def origin(self) -> str | None:
        """Which log the folder belongs to; None while it is empty. Raises NotExportedError, LogInconsistentError."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self._path.exists():
                return None
            export.drop_unfinished(self._path)
            with self._path.open("rb") as file:
                first = file.readline()
            return _line.decode(first).origin if first else None
        except OSError as error:
            raise self._unusable(error) from error
        except msgspec.MsgspecError as error:
            raise LogInconsistentError(problem=f"{self._path} is no file of checkpoints") from error

    def last(self, verifier: Verifier) -> Signed | None:
        """The last checkpoint that was exported. Raises LogInconsistentError when it is not ours."""
        try:
            if not self._path.exists():
                return None
            with self._path.open("rb") as file:
                file.seek(max(0, self._path.stat().st_size - TAIL_BYTES))
                lines = file.read().splitlines()
        except OSError as error:
            raise self._unusable(error) from error
        try:
            line = _line.decode(lines[-1]) if lines else Line()
            if line.checkpoint is None or line.at is None or line.position is None:
                return None
            checkpoint = read_checkpoint(verifier.opened(line.checkpoint))
        except (msgspec.MsgspecError, AuditError) as error:
            raise LogInconsistentError(problem=f"the last line of {self._path}: {error}") from error
        return Signed(checkpoint, line.position, line.at, line.checkpoint)

    def add(self, signed: Signed, verifier: Verifier) -> None:
        """On the disk when it returns. Raises NotExportedError."""
        origin, size, _ = signed.checkpoint
        line = Line(checkpoint=signed.note, size=size, position=signed.position, at=signed.at)
        try:
            if not self._path.exists() or not self._path.stat().st_size:
                export.append(self._path, Line(format=CHECKPOINTS, origin=origin, key=str(verifier)))
            export.append(self._path, line)
            unfinished = self.folder / f"{NEWEST}.unfinished"
            with unfinished.open("w", encoding="utf-8") as file:
                file.write(signed.note)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(self.folder / NEWEST)
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> NotExportedError:
        return NotExportedError(folder=str(self.folder), problem=error.strerror or str(error))
