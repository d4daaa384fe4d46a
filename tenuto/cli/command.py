"""What every command shares: its options, its example, and how it fails: one clear line, never a traceback.

Knows nothing of any single command. Everything heavy (httpx, rich, the server) is imported when a command
runs.
"""

from __future__ import annotations

import functools
import getpass
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer

if TYPE_CHECKING:
    from tenuto.client import Client

P = ParamSpec("P")

Json = Annotated[bool, typer.Option("--json", help="Print JSON, errors too, for programs.")]
Server = Annotated[
    str,
    typer.Option(
        "--server", envvar="TENUTO_SERVER", metavar="URL", help="The server to ask.", show_default=True
    ),
]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; kept in the history.")]
Actor = Annotated[
    str | None,
    typer.Option("--actor", envvar="TENUTO_ACTOR", help="Who acts; by default the name of your account."),
]
Execution = Annotated[
    str | None, typer.Option("--execution", metavar="STEP#N", help="Which execution, when several wait.")
]
Instance = Annotated[str, typer.Argument(metavar="INSTANCE", help="The instance's id.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, max=1000, help="At most so many on a page.")]
Cursor = Annotated[str | None, typer.Option("--cursor", help="Go on from the `next` of an earlier page.")]

# The app itself. Plain help: rich would double the time of `tenuto --help`.
app = typer.Typer(
    name="tenuto",
    help="Tenuto: workflows whose history is the truth. Begin with `tenuto dev`, or watch `tenuto demo`.",
    epilog="Example: tenuto dev --deploy order.yaml",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def family(name: str, help: str, example: str) -> typer.Typer:
    """Commands of the program under one name: `command(…, of=…)`."""
    commands = typer.Typer(
        name=name,
        help=help,
        epilog=f"Example: {example}",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.add_typer(commands)
    return commands


TRACEBACK = "TENUTO_TRACEBACK"  # set: an error is raised as Python does, for those who look for its cause


class CommandError(Exception):
    """Something the user can mend; the text says how."""


def command(
    example: str, name: str | None = None, *, of: typer.Typer = app
) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Register a command, of the program or of a family of it, with an example in its help. What it raises becomes one
    line on stderr and exit code 1.
    """

    def register(function: Callable[P, None]) -> Callable[P, None]:
        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> None:
            try:
                function(*args, **kwargs)
            except (typer.Exit, typer.Abort, typer.BadParameter, BrokenPipeError):
                raise  # typer's own ways to end; after `| head` has read enough it says nothing
            except Exception as error:
                if os.environ.get(TRACEBACK):
                    raise
                raise _failed(error, as_json=bool(kwargs.get("as_json"))) from None

        of.command(name, epilog=f"Example: {example}")(run)
        return function

    return register


def connect(server: str, actor: str | None = None) -> Client:
    """A client for one command: few retries, since a person is waiting."""
    from tenuto.client import Client

    return Client(server, retries=1, actor=actor or _account())


def say(text: str) -> None:
    """One line for people, on stdout."""
    typer.echo(text)


def complain(text: str) -> None:
    """One line for people, on stderr."""
    typer.echo(text, err=True)


def print_json(value: object) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def read_value(text: str | None, option: str) -> Any:
    """JSON given as text, as `@file`, or as `-` for stdin; None when absent."""
    if text is None:
        return None
    if text == "-":
        text = sys.stdin.read()
    elif text.startswith("@"):
        text = Path(text[1:]).read_text(encoding="utf-8")
    try:
        return json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(
            f"no JSON: {error}. Write {option} '{{\"key\": 1}}', {option} @file.json or {option} -",
            param_hint=option,
        ) from None


def read_duration(text: str | None, option: str) -> float | None:
    """Seconds, of a duration such as `30s` or `5m`; None when absent."""
    from tenuto.durations import to_seconds

    try:
        return None if text is None else to_seconds(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def read_pairs(pairs: list[str] | None, option: str) -> dict[str, str] | None:
    """`key=value` options as a dict; None when there are none."""
    split = [pair.partition("=") for pair in pairs or ()]
    for key, equals, _ in split:
        if not key or not equals:
            raise typer.BadParameter(f"write {option} key=value", param_hint=option)
    return {key: value for key, _, value in split} or None


def _account() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # an account without a name: let the server say who asked
        return None


def _failed(error: Exception, *, as_json: bool) -> typer.Exit:
    complain(json.dumps(_as_object(error)) if as_json else f"Error: {_line(error)}")
    return typer.Exit(1)


def _as_object(error: Exception) -> Mapping[str, Any]:
    problem = getattr(error, "problem", None)
    if problem is not None:
        return {"status": getattr(error, "status", None), **problem}
    return {"type": type(error).__name__, "title": _line(error)}


def _line(error: Exception) -> str:
    """One line; an error that is not ours is named, since its text was not written for this place."""
    from tenuto.errors import TenutoClientError

    text = " ".join(str(error).split())
    if isinstance(error, CommandError | TenutoClientError | ValueError) and text:
        return text
    if isinstance(error, OSError) and error.filename is not None and error.errno is not None:
        return f"{error.filename}: {os.strerror(error.errno)}"
    return f"{type(error).__name__}: {text} ({TRACEBACK}=1 shows where)"
