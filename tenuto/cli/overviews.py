"""Commands about many instances at once: `count`, `queues`, `alerts`, `waits`, `deadlines`, `statistics`."""

from __future__ import annotations

from typing import Annotated

import typer

from tenuto.cli.choosing import Definition
from tenuto.cli.command import Cursor, Json, Limit, Server, command, connect, print_json, say
from tenuto.cli.instances import All, print_page
from tenuto.surroundings import DEFAULT_SERVER

Of = Annotated[str | None, typer.Option("--instance", help="Only this instance's.")]


@command("tenuto count --definition order")
def count(*, definition: Definition = None, server: Server = DEFAULT_SERVER, as_json: Json = False) -> None:
    """Count instances by status."""
    with connect(server) as client:
        counts = client.count(definition=definition)
    if as_json:
        print_json({"counts": counts})
    else:
        from tenuto.cli import render

        render.table("counts", [{"status": status, "instances": number} for status, number in counts.items()])


@command("tenuto queues --window 15m")
def queues(
    *,
    window: Annotated[
        str | None, typer.Option("--window", metavar="TIME", help="Latencies of so long; by default 5m.")
    ] = None,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Show what waits in the queues, and how long tasks wait to be taken."""
    with connect(server) as client:
        overview = client.queues(window=window)
    if as_json:
        print_json(overview)
        return
    from tenuto.cli import render

    render.table("queues", overview["queues"])
    if overview.get("pools"):
        say("")
        render.table("pools", overview["pools"])


@command("tenuto alerts --state open --severity high")
def alerts(
    *,
    state: Annotated[str | None, typer.Option("--state", help="open or acknowledged.")] = None,
    severity: Annotated[str | None, typer.Option("--severity", help="low, medium or high.")] = None,
    instance: Of = None,
    definition: Definition = None,
    limit: Limit = None,
    cursor: Cursor = None,
    every: All = False,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """List alerts; `tenuto acknowledge` says that somebody looks after one."""
    from tenuto import overviews

    call = overviews.alerts(
        state=state,
        severity=severity,
        instance=instance,
        definition=definition,
        limit=limit,
        cursor=cursor,
    )
    print_page("alerts", call, server, every=every, as_json=as_json)


@command("tenuto waits --waiting-for manual_resolution")
def waits(
    *,
    waiting_for: Annotated[
        str | None, typer.Option("--waiting-for", help="signal, timer or manual_resolution.")
    ] = None,
    signal: Annotated[str | None, typer.Option("--signal", help="Only for this signal.")] = None,
    instance: Of = None,
    definition: Definition = None,
    limit: Limit = None,
    cursor: Cursor = None,
    every: All = False,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """List what instances wait for, the longest first."""
    from tenuto import overviews

    call = overviews.waits(
        waiting_for=waiting_for,
        signal=signal,
        instance=instance,
        definition=definition,
        limit=limit,
        cursor=cursor,
    )
    print_page("waits", call, server, every=every, as_json=as_json)


@command("tenuto deadlines --standing open --due-within 1h")
def deadlines(
    *,
    standing: Annotated[str | None, typer.Option("--standing", help="open, met or missed.")] = None,
    due_within: Annotated[
        str | None, typer.Option("--due-within", metavar="TIME", help="Due so soon, or past.")
    ] = None,
    instance: Of = None,
    definition: Definition = None,
    limit: Limit = None,
    cursor: Cursor = None,
    every: All = False,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """List deadlines, those due first first."""
    from tenuto import overviews

    call = overviews.deadlines(
        standing=standing,
        due_within=due_within,
        instance=instance,
        definition=definition,
        limit=limit,
        cursor=cursor,
    )
    print_page("deadlines", call, server, every=every, as_json=as_json)


@command("tenuto statistics order")
def statistics(
    definition: Annotated[str, typer.Argument(metavar="DEFINITION", help="The definition's name.")],
    *,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Show how a definition does, by version and step."""
    with connect(server) as client:
        found = client.statistics(definition)
    if as_json:
        print_json(found)
        return
    from tenuto.cli import render

    if not found["versions"]:
        say(f"{definition} has not been started yet.")
    for version in found["versions"]:
        outcomes = ", ".join(f"{outcome} {number}" for outcome, number in version["byOutcome"].items())
        say(
            f"{definition} {version['version']}: started {version['started']}; {outcomes or 'none has ended'}"
        )
        render.table("statistics", version["steps"])
