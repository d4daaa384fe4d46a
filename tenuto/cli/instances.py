"""Commands about instances: `start`, `list`, `show`, `history`, `events`, `transitions`, `replay`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tenuto.cli.command import (
    DEFAULT_SERVER,
    Actor,
    Cursor,
    Instance,
    Json,
    Limit,
    Server,
    command,
    connect,
    print_json,
    read_pairs,
    read_value,
    say,
)

if TYPE_CHECKING:
    from tenuto.exchange import Call
    from tenuto.wire import Page

Labels = Annotated[
    list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A label; repeatable.")
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
    wait: Annotated[
        str | None, typer.Option("--wait", metavar="TIME", help="Wait so long for its end: 30s.")
    ] = None,
    actor: Actor = None,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Start an instance."""
    with connect(server, actor) as client:
        view = client.start(
            definition,
            read_value(input_, "--input"),
            version=version,
            correlation_id=correlation_id,
            labels=read_pairs(label, "--label") if label else None,
            priority=priority,
            start_at=start_at,
            idempotency_key=key,
            wait=wait,
        )
    if as_json:
        print_json(view)
        return
    say(f"{view.get('id')} is {view.get('status')}. Look at it with: tenuto show {view.get('id')}")
    if view.get("result") is not None:
        print_json(view["result"])


@command("tenuto list --status waiting --definition order", name="list")
def list_(
    *,
    status: Annotated[
        list[str] | None, typer.Option("--status", help="Only this status; repeatable.")
    ] = None,
    outcome: Annotated[str | None, typer.Option("--outcome", help="Only this outcome.")] = None,
    definition: Annotated[str | None, typer.Option("--definition", help="Only this definition's.")] = None,
    correlation_id: Annotated[
        str | None, typer.Option("--correlation-id", help="Only this correlation id's.")
    ] = None,
    label: Labels = None,
    limit: Limit = None,
    cursor: Cursor = None,
    every: All = False,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """List instances."""
    from tenuto import calls

    call = calls.list_(
        status=status,
        outcome=outcome,
        definition=definition,
        correlation_id=correlation_id,
        labels=read_pairs(label, "--label") if label else None,
        limit=limit,
        cursor=cursor,
    )
    _print_page("instances", call, server, every=every, as_json=as_json)


@command("tenuto show 0-0199… --at 2026-11-23T12:00:00Z --history")
def show(
    instance: Instance,
    *,
    at: Annotated[str | None, typer.Option("--at", metavar="TIME", help="As it was then (RFC 3339).")] = None,
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="As it was after this event.")
    ] = None,
    history: Annotated[bool, typer.Option("--history", help="With every step execution.")] = False,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Show an instance, now or in the past."""
    if at is not None and version is not None:
        raise typer.BadParameter("choose one of --at and --version", param_hint="--at")
    if history and (at is not None or version is not None):
        raise typer.BadParameter(
            "--history is about now; for the past read `tenuto events`", param_hint="--history"
        )
    with connect(server) as client:
        if at is None and version is None:
            view = client.instance(instance, history=history)
        else:
            view = client.state(instance, at=at, version=version)
    if as_json:
        print_json(view)
        return
    from tenuto.cli import render

    render.instance(view)


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
    _print_page("history", call, server, every=every, as_json=as_json)


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
    _print_page("events", call, server, every=every, as_json=as_json)


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
    _print_page("transitions", call, server, every=every, as_json=as_json)


@command("tenuto replay 0-0199…")
def replay(instance: Instance, *, server: Server = DEFAULT_SERVER, as_json: Json = False) -> None:
    """Fold an instance's log again and compare it with what is served."""
    with connect(server) as client:
        verdict = client.replay(instance)
    if as_json:
        print_json(verdict)
    elif verdict.get("equal"):
        say(f"{instance}: the log folds to exactly what is served.")
    else:
        print_json(verdict)
    if not verdict.get("equal"):
        raise typer.Exit(1)


def _print_page(kind: str, call: Call[Page[Any]], server: str, *, every: bool, as_json: bool) -> None:
    """One page of a list, or all of them; as the wire's own object, or as a table."""
    items: list[Any] = []
    with connect(server) as client:
        page = client.send(call)
        items += page
        while every and page.next is not None:
            page = client.send(call.after(page.next))
            items += page
    if as_json:
        print_json({kind: items, "next": page.next})
        return
    from tenuto.cli import render

    render.table(kind, items)
    if page.next is not None:
        say(f"There is more: --cursor {page.next}, or --all.")
