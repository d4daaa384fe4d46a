"""Commands that move instances elsewhere, or act on many: `migrate`, `fork`, `batch`. Results are a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tenuto.cli.command import (
    Actor,
    Cursor,
    Instance,
    Json,
    Limit,
    Reason,
    Server,
    command,
    connect,
    print_json,
    read_pairs,
    read_value,
    say,
)
from tenuto.surroundings import DEFAULT_SERVER

if TYPE_CHECKING:
    from tenuto.client import Client

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")]
Every = Annotated[bool, typer.Option("--all", help="Every page, not only the first.")]
To = Annotated[
    str | None, typer.Option("--to", metavar="VERSION", help="The version; by default the newest.")
]
Map = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="OLD=NEW", help="A step that is called otherwise; repeatable."),
]
Status = Annotated[list[str] | None, typer.Option("--status", help="Only this status; repeatable.")]
Label = Annotated[list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A label; repeatable.")]


@dataclass(frozen=True, slots=True)
class Pages:
    """Which pages of many, and how they are shown."""

    limit: int | None
    cursor: str | None
    every: bool
    dry_run: bool
    as_json: bool


@command("tenuto migrate --definition order --from 1 --to 2 --map ship=send --dry-run --reason 'new carrier'")
def migrate(
    instance: Annotated[
        str | None,
        typer.Argument(metavar="INSTANCE", help="One; or with --definition and --from, all of those."),
    ] = None,
    *,
    reason: Reason,
    definition: Annotated[str | None, typer.Option("--definition", help="All instances of this one.")] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="VERSION", help="That follow this version.")
    ] = None,
    to: To = None,
    map_: Map = None,
    dry_run: DryRun = False,
    limit: Limit = None,
    cursor: Cursor = None,
    every: Every = False,
    actor: Actor = None,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Move an instance, or all of a version, to another version of the definition."""
    many = definition is not None and from_ is not None
    if many == (instance is not None):
        raise typer.BadParameter(
            "name one INSTANCE, or with --definition and --from all of a version", param_hint="INSTANCE"
        )
    steps = read_pairs(map_, "--map") if map_ else None
    with connect(server, actor) as client:
        if instance is not None:
            view = client.migrate(instance, reason, to, steps=steps, dry_run=dry_run)
            _tell_one(instance, view, dry_run=dry_run, as_json=as_json)
            return

        def ask(after: str | None) -> dict[str, Any]:
            return client.migrate_many(
                definition or "",
                reason,
                from_version=from_ or "",
                to_version=to,
                steps=steps,
                limit=limit,
                cursor=after,
                dry_run=dry_run,
            )

        _tell_many(ask, Pages(limit, cursor, every, dry_run, as_json))


@command("""tenuto fork 0-0199… --from-step ship#1 --data '{"city": "Bremen"}' --reason 'wrong address'""")
def fork(
    instance: Instance,
    *,
    reason: Reason,
    from_version: Annotated[
        int | None, typer.Option("--from-version", min=1, help="At, or right before, this event.")
    ] = None,
    from_step: Annotated[
        str | None, typer.Option("--from-step", metavar="STEP#N", help="Right after it was first scheduled.")
    ] = None,
    input_: Annotated[
        str | None, typer.Option("--input", "-i", help="Another input: JSON, @file.json or -.")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", "-d", help="Merged into the data: JSON, @file.json or -.")
    ] = None,
    key: Annotated[str | None, typer.Option("--key", help="The same key forks only once.")] = None,
    actor: Actor = None,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Go on from a point of an instance, as a new one; by default from the step that failed."""
    if from_version is not None and from_step is not None:
        raise typer.BadParameter("choose one of --from-version and --from-step", param_hint="--from-step")
    with connect(server, actor) as client:
        view = client.fork(
            instance,
            reason,
            version=from_version,
            execution=from_step,
            input=read_value(input_, "--input"),
            data=read_value(data, "--data"),
            idempotency_key=key,
        )
    if as_json:
        print_json(view)
        return
    origin = (view.get("forkedFrom") or {}).get("version")  # type: ignore[attr-defined]
    say(f"fork: {view['id']} goes on from event {origin} of {instance}. See: tenuto show {view['id']}")


@command(
    "tenuto batch cancel --definition order --status waiting --older-than 7d --dry-run --reason 'season is over'"
)
def batch(
    act: Annotated[
        str,
        typer.Argument(
            metavar="ACT",
            help="cancel, terminate, compensate, pause, resume, retry, skip, fail, give-up or migrate.",
        ),
    ],
    *,
    reason: Reason,
    status: Status = None,
    outcome: Annotated[str | None, typer.Option("--outcome", help="Only this outcome.")] = None,
    definition: Annotated[str | None, typer.Option("--definition", help="Only this definition's.")] = None,
    version: Annotated[str | None, typer.Option("--version", help="Only those that follow it.")] = None,
    correlation_id: Annotated[
        str | None, typer.Option("--correlation-id", help="Only this correlation id's.")
    ] = None,
    waiting_for: Annotated[
        list[str] | None,
        typer.Option("--waiting-for", help="signal, timer, child or manual_resolution; repeatable."),
    ] = None,
    label: Label = None,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="TIME", help="Created longer ago than this (1h, 7d)."),
    ] = None,
    to: To = None,
    map_: Map = None,
    dry_run: DryRun = False,
    limit: Limit = None,
    cursor: Cursor = None,
    every: Every = False,
    actor: Actor = None,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Do the same to every instance that the filters find."""
    from tenuto import many

    found = many.filters(
        status=status,
        outcome=None if outcome is None else [outcome],
        definition=definition,
        version=version,
        correlation_id=correlation_id,
        waiting_for=waiting_for,
        labels=read_pairs(label, "--label") if label else None,
        older_than=older_than,
    )
    steps = read_pairs(map_, "--map") if map_ else None
    with connect(server, actor) as client:
        ask = _batches(client, act, reason, found, to, steps, limit, dry_run=dry_run)
        _tell_many(ask, Pages(limit, cursor, every, dry_run, as_json))


def _batches(
    client: Client,
    act: str,
    reason: str,
    found: dict[str, Any],
    to: str | None,
    steps: dict[str, str] | None,
    limit: int | None,
    *,
    dry_run: bool,
) -> Callable[[str | None], dict[str, Any]]:
    def ask(after: str | None) -> dict[str, Any]:
        return client.batch(
            act, reason, found, version=to, steps=steps, limit=limit, cursor=after, dry_run=dry_run
        )

    return ask


def _tell_one(instance: str, view: dict[str, Any], *, dry_run: bool, as_json: bool) -> None:
    """Exit code 1 when a dry run says no."""
    can = view.get("canMigrate", True)
    if as_json:
        print_json(view)
    elif not dry_run:
        say(
            f"migrate: {instance} follows version {view.get('definitionVersion')}. See: tenuto show {instance}"
        )
    elif can:
        say(f"{instance} can move from version {view['fromVersion']} to {view['toVersion']}.")
    else:
        say(f"{instance} cannot move from version {view['fromVersion']} to {view['toVersion']}:")
        for obstacle in view["obstacles"]:
            say(f"  {obstacle['code']}: {obstacle['message']}")
    if not can:
        raise typer.Exit(1)


def _tell_many(ask: Callable[[str | None], dict[str, Any]], pages: Pages) -> None:
    """Exit code 1 when something was refused."""
    answer = ask(pages.cursor)
    results: list[dict[str, Any]] = list(answer["results"])
    while pages.every and answer["next"] is not None:
        answer = ask(answer["next"])
        results += answer["results"]
    counts = dict(Counter(one["result"] for one in results))
    if pages.as_json:
        print_json({**answer, "results": results, "counts": counts})
    else:
        from tenuto.cli import render

        render.table("results", results)
        said = ", ".join(f"{number} {result}" for result, number in sorted(counts.items())) or "none found"
        say(f"{'Dry run: ' if pages.dry_run else ''}{said}.")
        if answer["next"] is not None:
            say(f"There is more: --cursor {answer['next']}, or --all.")
    if counts.get("refused"):
        raise typer.Exit(1)
