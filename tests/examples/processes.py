"""Programs of the project run as a user runs them: each a process of its own, ended when the test is over."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
READY_SECONDS = 60.0
STOP_SECONDS = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(**variables: str) -> dict[str, str]:
    """The account's own, without settings of Tenuto that it may have."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("TENUTO_")}
    return {**plain, "PYTHONUNBUFFERED": "1", **variables}


@contextmanager
def running(log: Path, ready: str, *module_and_options: str, **variables: str) -> Iterator[None]:
    """Runs `python -m …` until the end of the block, once its output in `log` says `ready`."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *module_and_options],
            cwd=ROOT,
            env=environment(**variables),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _await(process, log, ready)
        yield
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def _await(process: subprocess.Popen[bytes], log: Path, ready: str) -> None:
    give_up_at = time.monotonic() + READY_SECONDS
    while ready not in log.read_text():
        assert process.poll() is None, f"it ended too early:\n{log.read_text()}"
        assert time.monotonic() < give_up_at, f"it never said {ready!r}:\n{log.read_text()}"
        time.sleep(0.02)
