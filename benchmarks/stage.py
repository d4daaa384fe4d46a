"""The processes of a measurement: PostgreSQL, a Tenuto server, workers, the driver. Loopback only, all of them bounded.

Refuses to know what is measured; each measure composes what it needs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from benchmarks import flood
from benchmarks.database import fresh_database, postmaster
from benchmarks.driver import Job, Report
from benchmarks.work import NAP, NAP_YAML, REFUSED, REFUSED_YAML, SAGA, SAGA_YAML
from engine.embedded_postgres import EmbeddedPostgres

ROOT = Path(__file__).parents[1]
READY_WITHIN_S = 60.0
DRIVEN_WITHIN_S = 1200.0
STOPPED_WITHIN_S = 30.0

DEFINITIONS = {SAGA: SAGA_YAML, REFUSED: REFUSED_YAML, NAP: NAP_YAML}

Process = subprocess.Popen[str]


class ProcessEndedError(Exception):
    """A process of the stage ended, or did not do in time what it is there for."""


class Running(Struct, frozen=True):
    """A server with a database of its own, workers, and everything to be driven."""

    url: str
    database: str
    server: int
    workers: list[int]
    postgres: int
    counted: bool = True
    """Whether it keeps counts."""

    def drive(
        self,
        sagas: int,
        *,
        in_flight: int = 1,
        warm_up: int = 0,
        definition: str = SAGA,
        outcome: str = "succeeded",
    ) -> Report:
        """Runs so many sagas. Raises ProcessEndedError when the driver fails."""
        groups = {"server": [self.server], "workers": self.workers, "postgres": [self.postgres]}
        job = Job(
            url=self.url,
            definition=definition,
            outcome=outcome,
            sagas=sagas,
            in_flight=in_flight,
            warm_up=warm_up,
            groups=groups,
            counted=self.counted,
        )
        return msgspec.json.decode(_done("benchmarks.driver", job), type=Report)

    def flood(self, job: flood.Job) -> flood.Flooded:
        """Raises ProcessEndedError when what was accepted did not end, or a refusal was none."""
        flooded = msgspec.json.decode(_done("benchmarks.flood", job), type=flood.Flooded)
        if flooded.faults:
            raise ProcessEndedError(f"{len(flooded.faults)} strange answers, among them {flooded.faults[0]}")
        return flooded


def _done(module: str, job: Struct) -> bytes:
    """What a process that does the job says."""
    command = [sys.executable, "-m", module, msgspec.json.encode(job).decode()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=DRIVEN_WITHIN_S, check=False)
    if done.returncode:
        raise ProcessEndedError(done.stderr.decode(errors="replace")[-2000:])
    return done.stdout


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """One that PostgreSQL's account may enter, too, when we are root."""
    folder = Path(tempfile.mkdtemp(prefix="tenuto-bench-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def own_postgres() -> Iterator[str]:
    """An embedded PostgreSQL, as `tenuto dev` has it: durable. Call it on the main thread."""
    with temporary_folder() as folder, EmbeddedPostgres(folder / "home") as uri:
        yield uri


@contextlib.contextmanager
def running(
    postgres: str,
    *,
    workers: int = 1,
    concurrency: int = 100,
    profile: Path | None = None,
    projections: Sequence[str] = (),
) -> Iterator[Running]:
    """A server on a fresh database, the saga deployed, and workers. `profile`: where the server's cProfile goes;
    `projections`: those that it keeps, if not all."""
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(fresh_database(postgres))
        command = ["-m", "tenuto", "serve", "--port", "0", "--database-url", database]
        folder = stack.enter_context(temporary_folder())  # A folder of checkpoints belongs to one log.
        if projections:
            command = ["-m", "benchmarks.server", database, str(folder), *projections]
        if profile is not None:
            command = ["-m", "cProfile", "-o", str(profile), *command]
        notary = {"TENUTO_CHECKPOINTS": f"{folder}/checkpoints", "TENUTO_SIGNING_KEY": f"{folder}/key"}
        server = stack.enter_context(process(command, {**os.environ, **notary}))
        url = said(server, "ready ")
        for name, text in DEFINITIONS.items():
            deploy(url, name, text)
        work = ["-m", "benchmarks.worker", url, str(concurrency)]
        hands = [stack.enter_context(process(work)) for _ in range(workers)]
        yield Running(
            url, database, server.pid, [hand.pid for hand in hands], postmaster(postgres), not projections
        )


@contextlib.contextmanager
def process(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Iterator[Process]:
    """Python with these arguments, in the checkout. Its stdout can be read; its stderr is told with what goes wrong.

    It is ended afterwards, in order if it can be.
    """
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**environment, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            yield child
        except ProcessEndedError as failure:
            errors.seek(0)
            failure.add_note(f"{' '.join(arguments[:3])} said: {errors.read()[-2000:]}")
            raise
        finally:
            _end(child)


def _end(child: Process) -> None:
    child.terminate()
    try:
        child.wait(STOPPED_WITHIN_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    assert child.stdout is not None
    child.stdout.close()


def said(child: Process, prefix: str) -> str:
    """What follows `prefix` on the first line of its output that begins with it. Raises ProcessEndedError."""
    assert child.stdout is not None
    until = time.monotonic() + READY_WITHIN_S
    for line in child.stdout:
        if line.startswith(prefix):
            return line.removeprefix(prefix).strip()
        if time.monotonic() > until:
            break
    raise ProcessEndedError(f"process {child.pid} never said {prefix!r}")


def deploy(url: str, name: str, text: str) -> None:
    request = urllib.request.Request(  # noqa: S310 - our own server, on the loopback
        f"{url}/v1/definitions/{name}",
        data=text.encode(),
        method="PUT",
        headers={"content-type": "application/yaml"},
    )
    urllib.request.urlopen(request, timeout=READY_WITHIN_S).close()  # noqa: S310 - as above
