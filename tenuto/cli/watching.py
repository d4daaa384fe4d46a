"""The command that watches: events as they happen, one line each."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Annotated

import typer

from tenuto.cli.command import Json, Server, command, connect, read_pairs, say
from tenuto.surroundings import DEFAULT_SERVER

if TYPE_CHECKING:
    from tenuto.wire import FeedEvent

LONGEST_DATA = 160  # characters of what an event says; `--json` has it whole


@command("tenuto watch --topic workflow.state.changed --definition order --since 0")
def watch(
    *,
    topic: Annotated[
        list[str] | None, typer.Option("--topic", "-t", help="Only these events; repeatable.")
    ] = None,
    definition: Annotated[str | None, typer.Option("--definition", "-d", help="Only of this one.")] = None,
    instance: Annotated[str | None, typer.Option("--instance", "-i", help="Only of this one.")] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", metavar="KEY=VALUE", help="All must match.")
    ] = None,
    since: Annotated[
        int | None, typer.Option("--since", min=0, help="After this position; 0 is the beginning.")
    ] = None,
    count: Annotated[int | None, typer.Option("--count", "-n", min=1, help="Stop after so many.")] = None,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Watch events as they happen, until stopped; with --json one object on each line."""
    with connect(server) as client:
        events = client.feed(
            topics=topic or [],
            definition=definition,
            instance=instance,
            labels=read_pairs(label, "--label"),
            after=since,
        )
        for event in itertools.islice(events, count):
            say(json.dumps(event, ensure_ascii=False) if as_json else _line(event))


def _line(event: FeedEvent) -> str:
    said = json.dumps(event.get("data"), ensure_ascii=False)
    said = said if len(said) <= LONGEST_DATA else f"{said[:LONGEST_DATA]}…"
    kind = event.get("type", "").removeprefix("tenuto.")
    return "  ".join([event.get("id", ""), event.get("time", ""), event.get("subject", ""), kind, said])
