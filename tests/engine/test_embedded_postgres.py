"""The embedded PostgreSQL keeps what was committed and leaves nothing running, whoever is killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from engine import embedded_postgres, postgres_binaries
from engine.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError, NoPostgresError, default_home
from engine.postgres_binaries import Binaries
from engine.private_files import closed_folder

ROOT = Path(__file__).parents[2]
WITHIN = 30.0  # seconds for a process to do what it must; far more than it takes

OWNER = """
import sys, pathlib
from engine.embedded_postgres import EmbeddedPostgres
server = EmbeddedPostgres(pathlib.Path(sys.argv[1]))
print(server.start(), server.is_owner, flush=True)
sys.stdin.read()
server.stop()
"""


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A home in which a server has run and was stopped. The tests share it, because initdb is the slow part;
    each finds no server running, and leaves none."""
    folder = Path(tempfile.mkdtemp(prefix="tenuto-embedded-"))
    with EmbeddedPostgres(folder) as uri:
        run(uri, "CREATE TABLE kept (what text)")
    yield folder
    shutil.rmtree(folder)


def run(uri: str, statement: str) -> None:
    with psycopg.connect(uri, autocommit=True) as connection:
        connection.execute(statement.encode())


def kept(uri: str) -> set[str]:
    with psycopg.connect(uri) as connection:
        return {row[0] for row in connection.execute("SELECT what FROM kept")}


def postmaster(home: Path) -> int:
    return int((home / "pgdata" / "postmaster.pid").read_text().split()[0])


def eventually(happens: Callable[[], bool]) -> bool:
    until = time.monotonic() + WITHIN
    while not happens():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def ended(pid: int) -> bool:
    """Gone, or a zombie that nobody has buried yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def another_process(home: Path) -> tuple[subprocess.Popen[str], str, bool]:
    """Start the server of `home` in a process of its own: the process, the URI, whether it is the owner."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout
    uri, is_owner = process.stdout.readline().split()
    return process, uri, is_owner == "True"


def end(process: subprocess.Popen[str]) -> None:
    process.communicate(timeout=WITHIN)
    assert process.returncode == 0


def test_a_restart_keeps_the_data_and_a_stopped_server_is_gone(home: Path) -> None:
    with EmbeddedPostgres(home) as uri:
        run(uri, "INSERT INTO kept VALUES ('before a restart')")
        pid = postmaster(home)
    assert ended(pid)
    with EmbeddedPostgres(home) as uri:
        assert "before a restart" in kept(uri)


def test_what_is_committed_is_on_disk_and_checked_on_reading(home: Path) -> None:
    wanted = ["fsync", "synchronous_commit", "full_page_writes", "data_checksums"]
    with EmbeddedPostgres(home) as uri, psycopg.connect(uri) as connection:
        shown = connection.execute(
            "SELECT setting FROM pg_settings WHERE name = ANY (%s)", (wanted,)
        ).fetchall()
    assert shown == [("on",)] * len(wanted)


def test_settings_reach_the_server(home: Path) -> None:
    with EmbeddedPostgres(home, settings={"work_mem": "5MB"}) as uri, psycopg.connect(uri) as connection:
        assert connection.execute("SHOW work_mem").fetchone() == ("5MB",)


def test_a_second_process_attaches_and_its_end_does_not_end_the_server(home: Path) -> None:
    server = EmbeddedPostgres(home)
    with server as uri:
        process, its_uri, is_owner = another_process(home)
        assert (its_uri, is_owner, server.is_owner) == (uri, False, True)
        end(process)
        run(uri, "INSERT INTO kept VALUES ('still here')")


def test_the_server_killed_and_started_again_serves_what_was_committed(home: Path) -> None:
    server = EmbeddedPostgres(home)
    with server as uri:
        run(uri, "INSERT INTO kept VALUES ('before a crash')")
        pid = postmaster(home)
        os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: ended(pid))
        assert "before a crash" in kept(server.start())
        assert postmaster(home) != pid


def test_a_killed_owner_takes_its_server_along_and_the_next_start_works(home: Path) -> None:
    process, uri, is_owner = another_process(home)
    assert is_owner
    run(uri, "INSERT INTO kept VALUES ('before its owner died')")
    pid = postmaster(home)
    process.kill()
    process.communicate()
    assert eventually(lambda: ended(pid)) or sys.platform != "linux"
    with EmbeddedPostgres(home) as uri:
        assert "before its owner died" in kept(uri)


def test_an_orphan_that_does_not_end_by_itself_is_ended_by_the_next_owner(home: Path) -> None:
    """What happens without PDEATHSIG (macOS): the orphan is made here, by letting go of the lock."""
    first = EmbeddedPostgres(home)
    uri = first.start()
    run(uri, "INSERT INTO kept VALUES ('by an orphan')")
    orphan = postmaster(home)
    assert first._lock
    first._lock.close()
    with EmbeddedPostgres(home) as uri:
        assert postmaster(home) != orphan
        assert "by an orphan" in kept(uri)
    assert ended(orphan)
    first.stop()


@pytest.mark.parametrize("leftover", ["", "{foreign}\n{data}\n1\n5432\n/nowhere\n\n"])
def test_a_pid_file_that_means_nothing_any_more_does_not_prevent_a_start(home: Path, leftover: str) -> None:
    """A power loss leaves the file; afterwards some other program of the same user may have that number."""
    server = EmbeddedPostgres(home)
    foreign = subprocess.Popen(["sleep", "60"], **(server._as_account() if server.account else {}))
    try:
        file = home / "pgdata" / "postmaster.pid"
        file.write_text(leftover.format(foreign=foreign.pid, data=server.data))
        server._hand_over(file)
        with server as uri:
            run(uri, "SELECT 1")
    finally:
        foreign.kill()
        foreign.wait()


def test_an_initdb_that_was_interrupted_is_begun_again() -> None:
    folder = Path(tempfile.mkdtemp(prefix="tenuto-embedded-"))
    (folder / "pgdata.unfinished").mkdir()
    (folder / "pgdata.unfinished" / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(folder, settings={"fsync": "off"}) as uri:
        run(uri, "SELECT 1")
    shutil.rmtree(folder)


def test_a_path_too_long_for_a_socket_still_works(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_postgres, "LONGEST_SOCKET_FOLDER", len(str(home)))
    server = EmbeddedPostgres(home)
    with server:
        assert (server._sockets / ".s.PGSQL.5432").exists()
        assert not server._sockets.is_relative_to(home)
    shutil.rmtree(server._sockets)


def test_without_postgresql_the_error_names_the_two_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Path(tempfile.mkdtemp(prefix="tenuto-embedded-"))
    monkeypatch.setattr(postgres_binaries, "WHEELS", (("no_such_wheel", "bin"),))
    monkeypatch.setattr(postgres_binaries, "SYSTEM", tmp_path)
    server = EmbeddedPostgres(home)
    with pytest.raises(NoPostgresError, match="TENUTO_DATABASE_URL") as caught:
        server.start()
    assert "pip install 'tenuto[embedded]'" in str(caught.value)
    assert "no_such_wheel" in str(caught.value)
    assert not server.is_owner
    shutil.rmtree(home)


def test_data_of_another_major_version_is_served_by_that_version_or_not_at_all(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    major = int((home / "pgdata" / "PG_VERSION").read_text())
    new, same = Binaries(Path("/new/bin"), major + 1), Binaries(Path("/same/bin"), major)
    monkeypatch.setattr(postgres_binaries, "find", lambda: [new, same])
    assert EmbeddedPostgres(home)._choose() == same
    monkeypatch.setattr(postgres_binaries, "find", lambda: [new])
    with pytest.raises(NoPostgresError, match=f"No PostgreSQL {major}, which wrote the data in"):
        EmbeddedPostgres(home).start()


def test_a_thread_that_may_end_before_the_process_cannot_start_the_server(home: Path) -> None:
    refused: list[str] = []

    def start() -> None:
        try:
            EmbeddedPostgres(home).start()
        except EmbeddedPostgresError as error:
            refused.append(str(error))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join(WITHIN)
    assert "main thread" in refused[0]


def test_windows_is_refused_politely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(EmbeddedPostgresError, match=r"Windows.*TENUTO_DATABASE_URL"):
        EmbeddedPostgres(tmp_path)
    with pytest.raises(EmbeddedPostgresError, match="Windows"):
        default_home()


def test_the_home_is_the_one_named_else_the_projects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(embedded_postgres, "closed_folder", lambda _: None)
    monkeypatch.delenv("TENUTO_HOME", raising=False)
    assert default_home() == tmp_path / ".tenuto"
    monkeypatch.setenv("TENUTO_HOME", str(tmp_path / "elsewhere"))
    assert default_home() == tmp_path / "elsewhere"


def test_as_root_a_project_in_a_closed_folder_gets_a_home_in_the_temp_area(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, temp = tmp_path / "project", tmp_path / "temp"
    project.mkdir(mode=0o700)
    temp.mkdir()
    monkeypatch.chdir(project)
    monkeypatch.delenv("TENUTO_HOME", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(temp))
    closed = closed_folder(project)
    assert closed is not None
    assert project.is_relative_to(closed)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    if owner == 0:
        assert default_home().parent == temp
        with pytest.raises(EmbeddedPostgresError, match="may not enter"):
            EmbeddedPostgres(project / "home").start()
    else:  # the folder is made as another user than the one we claim to be: that is noticed
        with pytest.raises(PermissionError, match="somebody else"):
            default_home()
