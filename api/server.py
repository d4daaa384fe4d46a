"""The composition root: what `tenuto dev` and `tenuto serve` run. `python -m api.server` does it from settings alone.

What goes wrong before it serves is one line on stderr and exit code 1. The server itself is `api/serving.py`; it is
imported, which takes about a second, while the embedded database starts.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from api.settings import Settings
from domain.errors import DefinitionInvalidError, TenutoError
from engine.embedded_postgres import EmbeddedPostgres, default_home
from engine.ports import StoreUnavailableError

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


class CannotServeError(TenutoError):
    """{problem}"""


def say_ready(url: str) -> None:
    sys.stdout.write(f"ready {url}\ndocs {url}/docs\n")
    sys.stdout.flush()


def main(
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    database_url: str | None = None,
    home: Path | None = None,
    services: Mapping[str, str] | None = None,
    deploy: Sequence[Path] = (),
    lease_seconds: float | None = None,
    ready: Callable[[str], None] = say_ready,
) -> int:
    """Serves until SIGTERM or SIGINT; the exit code. Without `database_url` an embedded PostgreSQL is started.

    `ready` hears the URL once it serves.

    Must be called on the main thread: the embedded server lives as long as the thread that started it. `services` are
    added to those of the settings.
    """
    try:
        settings = Settings()
        logging.basicConfig(level=settings.log_level.upper(), stream=sys.stderr, format=LOG_FORMAT)
        texts = {path: path.read_text(encoding="utf-8") for path in deploy}
        with _listening(host, port) as listener:
            threading.Thread(target=importlib.import_module, args=("api.serving",), daemon=True).start()
            with _database(database_url, home or settings.home) as dsn:
                from api import serving

                serving.run(
                    listener,
                    dsn,
                    services={**settings.service_urls, **(services or {})},
                    texts=texts,
                    lease_seconds=lease_seconds or settings.lease_seconds,
                    place=_place(settings, home or settings.home, embedded=database_url is None),
                    ready=ready,
                    pools=settings.pools,
                )
    except KeyboardInterrupt:
        return 130
    except (TenutoError, ValidationError, ValueError, OSError) as error:
        sys.stderr.write(f"Error: {_said(error)}\n")
        return 1
    return 0


def _place(settings: Settings, home: Path | None, *, embedded: bool) -> tuple[Path, Path]:
    """The folder of exported checkpoints and the file of the signing key, outside of the database."""
    home = home or (default_home() if embedded else Path(".tenuto"))
    return settings.checkpoints or home / "checkpoints", settings.signing_key or home / "signing.key"


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that owns the address; it takes connections once the server is ready. Raises CannotServeError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CannotServeError(problem=f"cannot listen on {host}: {error.strerror}") from error
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as error:
            problem = f"cannot listen on {host}:{port}: {error.strerror}. Choose another with --port"
            raise CannotServeError(problem=problem) from error
        yield listener


@contextlib.contextmanager
def _database(url: str | None, home: Path | None) -> Iterator[str]:
    """The DSN to use: the one given, or that of an embedded PostgreSQL which is stopped at the end."""
    if url is not None:
        yield url
        return
    embedded = EmbeddedPostgres(home or default_home())
    try:
        yield embedded.start()
    finally:
        embedded.stop()


def _said(error: Exception) -> str:
    """One line for a person, and one per finding."""
    if isinstance(error, DefinitionInvalidError):
        findings = error.details.get("findings")
        return "\n".join(map(str, findings)) if isinstance(findings, list) else str(error)
    if isinstance(error, ValidationError):
        faults = (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        return f"a setting does not fit: {'; '.join(faults)}"
    if isinstance(error, StoreUnavailableError):
        return f"the database cannot be reached ({error.details.get('problem')})"
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())


def serve() -> int:
    """As `main`, with everything from the settings."""
    try:
        settings = Settings()
    except ValidationError as error:
        sys.stderr.write(f"Error: {_said(error)}\n")
        return 1
    return main(
        host=settings.host, port=settings.port, database_url=settings.database_url, home=settings.home
    )


if __name__ == "__main__":
    sys.exit(serve())
