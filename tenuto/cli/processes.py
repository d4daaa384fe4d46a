"""Commands that stay: `dev`, `serve`, `worker`, `demo`, `simulate`. The server is imported only here, and only when one
runs.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tenuto.cli.command import (
    CommandError,
    Json,
    Server,
    command,
    print_json,
    read_pairs,
    say,
)
from tenuto.surroundings import DEFAULT_SERVER

if TYPE_CHECKING:
    from tenuto.worker import Worker

Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="The port to listen on.")]
Host = Annotated[str, typer.Option("--host", help="The address to listen on.")]
Home = Annotated[
    Path | None,
    typer.Option("--home", envvar="TENUTO_HOME", help="Where the embedded database keeps its data."),
]
Services = Annotated[
    list[str] | None,
    typer.Option("--service", metavar="NAME=URL", help="Where a service of `http:` actions is."),
]


@command("tenuto dev --service payments=http://127.0.0.1:9001 --deploy order.yaml")
def dev(
    *,
    host: Host = "127.0.0.1",
    port: Port = 8080,
    home: Home = None,
    service: Services = None,
    deploy: Annotated[
        list[Path] | None, typer.Option("--deploy", help="Deploy this definition at the start.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run everything here: server and database, nothing to install."""
    for path in deploy or []:
        if not path.is_file():
            raise CommandError(f"{path}: no such file to deploy")
    _serve(
        host=host,
        port=port,
        database_url=None,
        home=home,
        services=_services(service),
        deploy=deploy or [],
        ready=_ready("embedded", as_json=as_json),
    )


@command("tenuto serve --database-url postgresql://tenuto@db/tenuto --port 8080")
def serve(
    *,
    host: Host = "127.0.0.1",
    port: Port = 8080,
    database_url: Annotated[
        str | None,
        typer.Option(
            "--database-url",
            envvar="TENUTO_DATABASE_URL",
            metavar="DSN",
            help="The PostgreSQL to use; several hosts for HA.",
        ),
    ] = None,
    service: Services = None,
    as_json: Json = False,
) -> None:
    """Run the server on a PostgreSQL of yours."""
    if not database_url:
        raise CommandError(
            "no database: name one with --database-url or TENUTO_DATABASE_URL, or use `tenuto dev`"
        )
    _serve(
        host=host,
        port=port,
        database_url=database_url,
        home=None,
        services=_services(service),
        deploy=[],
        ready=_ready("given", as_json=as_json),
    )


@command("tenuto worker shop.activities --queue warehouse --concurrency 4")
def worker(
    target: Annotated[
        str, typer.Argument(metavar="MODULE[:ATTR]", help="Where the activities, or a Worker, are.")
    ],
    *,
    queue: Annotated[
        str, typer.Option("--queue", help="The queue of activities that name none.")
    ] = "default",
    name: Annotated[str | None, typer.Option("--name", help="This worker's name in the history.")] = None,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, help="Activities at once.")] = 16,
    grace: Annotated[str, typer.Option("--grace", help="How long a stop waits for what is in hand.")] = "30s",
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Run the activities of a Python module (found from the current folder) until stopped."""
    from tenuto.worker import Worker

    found = _attribute(target)
    if isinstance(found, Worker):
        chosen = found
    else:
        activities = _activities(found, target)
        chosen = Worker(
            server, activities=activities, queue=queue, name=name, concurrency=concurrency, grace=grace
        )
    _run_worker(chosen, as_json=as_json)


@command("tenuto demo")
def demo(*, as_json: Json = False) -> None:
    """Run the order example from end to end on a server of its own, and tell what happens."""
    _server_first()
    # By name: the example needs the server, which only stands beside `tenuto`, not below it.
    program = _imported("examples.order.demo", "the order example")
    raise typer.Exit(program.main(as_json))


@command("tenuto simulate --seed 42 --trace")
def simulate(
    *,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many worlds.")] = 100,
    first: Annotated[int, typer.Option("--first", min=0, help="The seed of the first one.")] = 0,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Processes that share the work.")] = 1,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="One world instead.")] = None,
    trace: Annotated[bool, typer.Option("--trace", help="Tell everything that happens in it.")] = False,
    as_json: Json = False,
) -> None:
    """Let everything go wrong around the engine, in simulated worlds; a seed tells the same story again."""
    if trace and seed is None:
        raise CommandError("--trace tells one world: name it with --seed")
    _server_first()
    which = ["--seeds", seeds, "--first", first, "--jobs", jobs] if seed is None else ["--seed", seed]
    arguments = [*map(str, which), *["--trace"] * trace, *["--json"] * as_json]
    program = _imported("simulation.command", "the simulator")
    raise typer.Exit(program.main(arguments))


def _run_worker(worker: Worker, *, as_json: bool) -> None:
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    if as_json:
        print_json({"worker": worker.name, "session": worker.session, "queues": worker.queues})
    else:
        say(f"Worker {worker.name} serves {', '.join(worker.queues)}. Ctrl-C stops it, after what it began.")
    worker.run_forever()


def _ready(database: str, *, as_json: bool) -> Callable[[str], None]:
    """What is said once the server really serves. Programs wait for the line that begins with `ready`."""

    def say_so(url: str) -> None:
        if as_json:
            print_json({"url": url, "database": database, "pid": os.getpid()})
        else:
            say(f"ready {url}\ndocs {url}/docs\nOn {database} PostgreSQL. Ctrl-C stops it.")
        sys.stdout.flush()

    return say_so


def _serve(**settings: Any) -> None:
    _server_first()
    main: Callable[..., int] = _imported("api.server", "the server").main
    raise typer.Exit(main(**settings))


def _services(pairs: list[str] | None) -> dict[str, str]:
    return read_pairs(pairs, "--service") or {}


def _server_first() -> None:
    """Put the server's folder first on sys.path: the wheel's copy, or the checkout this package stands in.

    A user's folder may hold an `api` of its own, which must not be taken for ours.
    """
    package = Path(__file__).resolve().parent.parent
    bundled = package / "_server"
    sys.path.insert(0, str(bundled if bundled.is_dir() else package.parent))


def _imported(module: str, what: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise CommandError(
            f"{what} is not part of this installation ({error}); install tenuto again"
        ) from error


def _attribute(target: str) -> Any:
    module_name, _, attribute = target.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # modules of the current folder, as with python -m
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and not module_name.startswith(error.name):
            raise CommandError(
                f"{module_name} needs the module {error.name}, which is not installed"
            ) from error
        raise CommandError(f"no module {module_name} in {Path.cwd()} or among the installed ones") from error
    except Exception as error:  # whatever a user's module does when it is imported
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{where.filename}:{where.lineno}"
        raise CommandError(
            f"{module_name} cannot be imported: {place}: {type(error).__name__}: {error}"
        ) from error
    if not attribute:
        return module
    if not hasattr(module, attribute):
        raise CommandError(f"the module {module_name} has no {attribute}")
    return getattr(module, attribute)


def _activities(found: Any, target: str) -> list[Any]:
    from types import ModuleType

    from tenuto.activity import Activity

    if isinstance(found, Activity):
        return [found]
    candidates = vars(found).values() if isinstance(found, ModuleType) else found
    try:
        activities = list(dict.fromkeys(one for one in candidates if isinstance(one, Activity)))
    except TypeError:
        activities = []
    if not activities:
        raise CommandError(
            f"{target} holds no activities; decorate functions with @activity, or name a Worker"
        )
    return activities
