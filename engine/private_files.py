"""Files and folders that are nobody else's business: secrets written durably, folders checked before use.

Knows nothing of what is kept in them. Used by `engine/embedded_postgres.py`.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Write a text that only its owner may read: whole or not at all, and durably."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(handle)
    unfinished.rename(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable (a rename is not, until then)."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def claim_folder(path: Path, *owners: int) -> Path:
    """Make `path` a folder of ours, and return it.

    In the temp area somebody else may have put a folder or a link of that name first: PermissionError, unless
    it belongs to this process's user or to one of `owners` (user ids).
    """
    path.mkdir(mode=0o711, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {os.geteuid(), *owners}:
        raise PermissionError(f"{path} belongs to somebody else")
    return path


def closed_folder(path: Path) -> Path | None:
    """The outermost folder on the way to `path`, itself included, that not everybody may walk into."""
    way = [*reversed(path.parents), path]
    return next((part for part in way if part.exists() and not part.stat().st_mode & stat.S_IXOTH), None)


def short_name(path: Path) -> str:
    """Ten hexadecimal digits that stand for `path`, where the path itself would be too long."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:10]
