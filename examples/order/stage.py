"""The stage of the demo: Tenuto, three services and a worker, each a process of its own that can be killed.

Everything lives in one temporary folder: the embedded PostgreSQL, one ledger (SQLite) per service, one log per
process. Ports are free ones, and stay the same when a process is started again.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Self

from examples.order.ledger import Json, Ledger

SERVICES = ("payments", "inventory", "shipping")
NAMES = (*SERVICES, "notifications")
READY_SECONDS = 60.0
SETTINGS = {
    "TENUTO_LEASE_SECONDS": "2",  # How long a worker may be silent; short, so that nobody waits for the demo.
    "PYTHONPATH": str(Path(__file__).resolve().parents[2]),  # Where `examples` is.
    "PYTHONUNBUFFERED": "1",
}


class StageError(Exception):
    """A process did not come up, or ended too early."""


class Stage:
    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tenuto-demo-"))
        self.folder.chmod(0o711)  # As root, PostgreSQL runs under another account: it has to get in.
        self._ports = {name: _free_port() for name in ("tenuto", *SERVICES)}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.server = f"http://127.0.0.1:{self._ports['tenuto']}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        for name in ("notifications", "tenuto", *SERVICES):
            self.stop(name)
        if failure[0] is None:
            shutil.rmtree(self.folder, ignore_errors=True)

    # Processes -------------------------------------------------------------------

    def start_services(self, delay_ms: int = 0) -> None:
        """The three services; `delay_ms` passes between an effect and the answer that tells of it."""
        for name in SERVICES:
            options = ["--port", str(self._ports[name]), "--ledger", str(self.ledger_path(name))]
            module = f"examples.order.services.{name}"
            self._start(name, [module, *options, "--delay-ms", str(delay_ms)])
        for name in SERVICES:
            self._await_answer(name, f"http://127.0.0.1:{self._ports[name]}/healthz")

    def start_server(self) -> None:
        services = [f"--service={name}=http://127.0.0.1:{self._ports[name]}" for name in SERVICES]
        self._start(
            "tenuto",
            [
                "tenuto",
                "dev",
                "--port",
                str(self._ports["tenuto"]),
                "--home",
                str(self.folder / "home"),
                *services,
            ],
        )
        self._await_answer("tenuto", f"{self.server}/readyz")

    def start_worker(self) -> None:
        options = ["--server", self.server, "--ledger", str(self.ledger_path("notifications"))]
        self._start("notifications", ["examples.order.notifications", *options])

    def kill(self, *names: str) -> None:
        """kill -9: no goodbye, nothing flushed."""
        for name in names:
            self._processes[name].send_signal(signal.SIGKILL)
        for name in names:
            self._processes.pop(name).wait()

    def stop(self, name: str) -> None:
        process = self._processes.pop(name, None)
        if process is None:
            return
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    # What the services saw ---------------------------------------------------------

    def ledger_path(self, name: str) -> Path:
        return self.folder / f"{name}.sqlite"

    def calls(self) -> list[Json]:
        """Every call that any service received."""
        return self._all(Ledger.calls)

    def effects(self) -> list[Json]:
        """Everything that was truly done, and cannot be seen by Tenuto."""
        return self._all(Ledger.effects)

    def _all(self, read: Callable[[Ledger], list[Json]]) -> list[Json]:
        rows: list[Json] = []
        for name in NAMES:
            ledger = Ledger(str(self.ledger_path(name)), name)
            rows += read(ledger)
            ledger.close()
        return rows

    # Inside ------------------------------------------------------------------------

    def _start(self, name: str, module_and_options: list[str]) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", *module_and_options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **SETTINGS},
            )

    def _await_answer(self, name: str, url: str) -> None:
        give_up_at = time.monotonic() + READY_SECONDS
        while time.monotonic() < give_up_at:
            if self._processes[name].poll() is not None:
                break
            try:
                with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own process
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.02)
        log = (self.folder / f"{name}.log").read_text(errors="replace")[-2000:]
        raise StageError(f"{name} did not come up; its log ends:\n{log}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
