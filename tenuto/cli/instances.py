"""Commands about instances: `start`, `list`, `show`, `history`, `events`, `transitions`.

With `--wait` the exit code says how the instance ended: 0 only when it has completed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tenuto.cli.choosing import (
    CorrelationId,
    Definition,
    Labels,
    OlderThan,
    Outcome,
    Status,
    Version,
    WaitingFor,
)
from tenuto.cli.command import (
    Actor,
    CommandError,
    Cursor,
    Instance,
    Json,
    Limit,
    Server,
    command,
    complain,
    connect,
    print_json,
    read_duration,
    read_pairs,
    read_value,
    say,
)
from tenuto.surroundings import DEFAULT_SERVER

if TYPE_CHECKING:
    from tenuto.client import Client
    from tenuto.exchange import Call
    from tenuto.wire import InstanceView, Page

FAILED, GOES_ON = 1, 3  # exit codes after --wait; 2 is wrong usage

Wait = Annotated[
    str | None,
    typer.Option(
        "--wait",
        metavar="TIME",
        help="Wait so long (30s, 5m) for its end. Then the exit code is 0 when it has completed, 1 when it "
        "has failed, 3 when it goes on.",
    ),
]
All = Annotated[bool, typer.Option("--all", help="Every page, not only the first.")]


@command("""tenuto start order --input '{"orderId": "o-1"}' --wait 30s""")
def start(
    definition: Annotated[str, typer.Argument(metavar="DEFINITION", help="The definition's name.")],
    *,
    input_: Annotated[
        str | None, typer.Option("--input", "-i", help="JSON, @file.json, or - for stdin.")
    ] = None,
    version: Annotated[
        str | None, typer.Option("--version", help="Not the newest version, but this one.")
    ] = None,
    correlation_id: Annotated[
        str | None, typer.Option("--correlation-id", help="Your own id for it.")
    ] = None,
    label: Labels = None,
    priority: Annotated[str | None, typer.Option("--priority", help="high, normal or low.")] = None,
    start_at: Annotated[
        str | None, typer.Option("--start-at", metavar="TIME", help="Begin then (RFC 3339).")
    ] = None,
    key: Annotated[str | None, typer.Option("--key", help="The same key starts only once.")] = None,
    wait: Wait = None,
    actor: Actor = None,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Start an instance."""
    seconds = read_duration(wait, "--wait")
    with connect(server, actor) as client:
        view = client.start(
            definition,
            read_value(input_, "--input"),
            version=version,
            correlation_id=correlation_id,
            labels=read_pairs(label, "--label"),
            priority=priority,
            start_at=start_at,
            idempotency_key=key,
        )
        if seconds is not None:
            view = _awaited(client, view["id"], seconds)
    if as_json:
        print_json(view)
    else:
        _print_started(view)
    if seconds is not None:
        _leave(view)


@command("tenuto list --status waiting --definition order", name="list")
def list_(
    *,
    status: Status = None,
    outcome: Outcome = None,
    definition: Definition = None,
    version: Version = None,
    text: Annotated[
        str | None,
        typer.Option("--text", metavar="WORDS", help="Words of its id, correlation id, labels or input."),
    ] = None,
    waiting_for: WaitingFor = None,
    business_status: Annotated[
        str | None, typer.Option("--business-status", help="Only this status of the definition's own.")
    ] = None,
    parent: Annotated[str | None, typer.Option("--parent", help="Only children of this instance.")] = None,
    older_than: OlderThan = None,
    younger_than: Annotated[
        str | None, typer.Option("--younger-than", metavar="TIME", help="Created no longer ago than this.")
    ] = None,
    correlation_id: CorrelationId = None,
    label: Labels = None,
    limit: Limit = None,
    cursor: Cursor = None,
    every: All = False,
    min_position: Annotated[
        int | None,
        typer.Option(
            "--min-position",
            min=0,
            help="Wait until the list shows this position of the log: `position` of `tenuto start --json`.",
        ),
    ] = None,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """List instances."""
    from tenuto import calls

    call = calls.list_(
        status=status,
        outcome=outcome,
        definition=definition,
        version=version,
        correlation_id=correlation_id,
        waiting_for=waiting_for,
        business_status=business_status,
        parent=parent,
        text=text,
        older_than=older_than,
        younger_than=younger_than,
        labels=read_pairs(label, "--label"),
        limit=limit,
        cursor=cursor,
        min_position=min_position,
    )
    print_page("instances", call, server, every=every, as_json=as_json)


@command("tenuto show 0-0199… --at 2026-11-23T12:00:00Z --history")
def show(
    instance: Instance,
    *,
    at: Annotated[str | None, typer.Option("--at", metavar="TIME", help="As it was then (RFC 3339).")] = None,
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="As it was after this event.")
    ] = None,
    history: Annotated[bool, typer.Option("--history", help="With every step execution.")] = False,
    wait: Wait = None,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Show an instance, now or in the past."""
    if at is not None and version is not None:
        raise typer.BadParameter("choose one of --at and --version", param_hint="--at")
    past = at is not None or version is not None
    if history and past:
        raise typer.BadParameter(
            "--history is about now; for the past read `tenuto events`", param_hint="--history"
        )
    seconds = read_duration(wait, "--wait")
    if seconds is not None and past:
        raise typer.BadParameter("the past is over: leave out --at and --version", param_hint="--wait")
    with connect(server) as client:
        if past:
            view = client.state(instance, at=at, version=version)
        elif seconds is not None:
            view = _awaited(client, instance, seconds, history=history)
        else:
            view = client.instance(instance, history=history)
    if as_json:
        print_json(view)
    else:
        from tenuto.cli import render

        render.instance(view)
    if seconds is not None:
        _leave(view)


@command("tenuto history 0-0199…")
def history(
    instance: Instance,
    *,
    limit: Limit = None,
    cursor: Cursor = None,
    every: All = False,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Show every execution of every step, in order."""
    from tenuto import calls

    call = calls.history(instance, limit=limit, cursor=cursor)
    print_page("history", call, server, every=every, as_json=as_json)


@command("tenuto events 0-0199… --all --json")
def events(
    instance: Instance,
    *,
    limit: Limit = None,
    cursor: Cursor = None,
    every: All = False,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Show the event log of an instance: all it is made of."""
    from tenuto import calls

    call = calls.events(instance, limit=limit, cursor=cursor)
    print_page("events", call, server, every=every, as_json=as_json)


@command("tenuto transitions 0-0199…")
def transitions(
    instance: Instance,
    *,
    limit: Limit = None,
    cursor: Cursor = None,
    every: All = False,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Show every change of an instance's status, with its reason."""
    from tenuto import calls

    call = calls.transitions(instance, limit=limit, cursor=cursor)
    print_page("transitions", call, server, every=every, as_json=as_json)


def _awaited(client: Client, instance: str, seconds: float, *, history: bool = False) -> InstanceView:
    """The instance once it has ended, or as it stands when the time is over. Longer than any one answer is held."""
    from tenuto.errors import ServerUnreachableError, UnavailableError, WaitTimeoutError

    try:
        view = client.wait(instance, seconds)
    except WaitTimeoutError:
        return client.instance(instance, history=history)
    except (ServerUnreachableError, UnavailableError) as error:
        raise CommandError(f"{instance} is there, but waiting for it failed: {error}") from error
    return client.instance(instance, history=True) if history else view


def _print_started(view: InstanceView) -> None:
    from tenuto.cli import render

    instance, status, outcome = view.get("id"), view.get("status"), view.get("outcome")
    how = f"{status} ({outcome})" if outcome not in (None, "succeeded", status) else status
    say(f"{instance} is {how}. Look at it with: tenuto show {instance}")
    if view.get("result") is not None:
        print_json(view["result"])
    if view.get("error"):
        complain(f"Error: {render.said(view['error'])}")


def _leave(view: InstanceView) -> None:
    """Ends with the exit code that `--wait` promises."""
    status = view.get("status")
    if status != "completed":
        raise typer.Exit(FAILED if status == "failed" else GOES_ON)


def print_page(kind: str, call: Call[Page[Any]], server: str, *, every: bool, as_json: bool) -> None:
    """One page of a list, or all of them; as the wire's own object, or as a table."""
    items: list[Any] = []
    with connect(server) as client:
        page = client.send(call)
        items += page
        while every and page.next is not None:
            page = client.send(call.after(page.next))
            items += page
    if as_json:
        position = {} if page.position is None else {"position": page.position}
        print_json({kind: items, "next": page.next} | position)
        return
    from tenuto.cli import render

    render.table(kind, items)
    if page.next is not None:
        say(f"There is more: --cursor {page.next}, or --all.")
