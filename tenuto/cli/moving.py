"""Commands for other versions, other instances, and many at once: `migrate`, `fork`, `batch`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import Annotated, Any

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
    Instance,
    Json,
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

PAGE = 200
"""Instances that one request acts on: its answer comes when all of them are done."""

To = Annotated[
    str | None,
    typer.Option("--to", metavar="VERSION", help="The version to go on in; by default the newest."),
]
Map = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="OLD=NEW", help="A step that has another id there; repeatable."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would become of it, and store nothing.")]
AtMost = Annotated[int | None, typer.Option("--limit", min=1, help="At most so many instances.")]


class Act(StrEnum):
    """What can be done to many; an act on a step is on the only one that waits for a person."""

    CANCEL = "cancel"
    TERMINATE = "terminate"
    COMPENSATE = "compensate"
    PAUSE = "pause"
    RESUME = "resume"
    RETRY = "retry"
    SKIP = "skip"
    FAIL = "fail"
    GIVE_UP = "give-up"
    MIGRATE = "migrate"


@command("tenuto migrate 0-0199… --to 2 --map ship=send --reason 'new carrier' --dry-run")
def migrate(
    target: Annotated[
        str, typer.Argument(metavar="INSTANCE", help="Its id, or with --from the name of a definition.")
    ],
    *,
    reason: Reason,
    to: To = None,
    origin: Annotated[
        str | None,
        typer.Option("--from", metavar="VERSION", help="Move all instances of this version that go on."),
    ] = None,
    steps: Map = None,
    dry_run: DryRun = False,
    limit: AtMost = None,
    actor: Actor = None,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Move an instance, or all of a version, to another version. Exit code 1 when one cannot be moved."""
    mapping = read_pairs(steps, "--map")
    with connect(server, actor) as client:
        if origin is None:
            answer = client.migrate(target, reason, to, steps=mapping, dry_run=dry_run)
        else:
            many = partial(
                client.migrate_many,
                target,
                reason,
                from_version=origin,
                to_version=to,
                steps=mapping,
                dry_run=dry_run,
            )
            answer = _all_pages(many, limit)
    if as_json:
        print_json(answer)
    elif origin is not None:
        _print_many("migrate", answer)
    elif dry_run:
        _print_plan(target, answer)
    else:
        say(f"migrate: {target} goes on in version {answer.get('definitionVersion')}.")
    if answer.get("canMigrate") is False or "refused" in answer.get("counts", ()):
        raise typer.Exit(1)


@command(
    """tenuto fork 0-0199… --from-execution ship#1 --data '{"carrier": "post"}' --reason 'again, by post'"""
)
def fork(
    instance: Instance,
    *,
    reason: Reason,
    version: Annotated[
        int | None, typer.Option("--from-version", min=1, help="From where it stood after so many events.")
    ] = None,
    execution: Annotated[
        str | None,
        typer.Option(
            "--from-execution",
            metavar="STEP#N",
            help="From where this execution was scheduled, or its wait began.",
        ),
    ] = None,
    input: Annotated[
        str | None, typer.Option("--input", "-i", help="Another input: JSON, @file.json, or - for stdin.")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", "-d", help="Merged into its data: JSON, @file.json, or -.")
    ] = None,
    key: Annotated[str | None, typer.Option("--key", help="The same key forks only once.")] = None,
    actor: Actor = None,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Go on from a point of an instance, as a new one; by default from where a step failed."""
    with connect(server, actor) as client:
        view = client.fork(
            instance,
            reason,
            version=version,
            execution=execution,
            input=read_value(input, "--input"),
            data=read_value(data, "--data"),
            idempotency_key=key,
        )
    if as_json:
        print_json(view)
    else:
        say(forked(instance, view))


def forked(instance: str, view: Any) -> str:
    """What is said of a fork."""
    version, new = view["forkedFrom"]["version"], view["id"]
    return (
        f"{new} goes on from version {version} of {instance} and is {view['status']}. See: tenuto show {new}"
    )


@command("tenuto batch cancel --definition order --status waiting --older-than 7d --reason 'season is over'")
def batch(
    act: Annotated[Act, typer.Argument(metavar="ACT", help=f"One of {', '.join(Act)}.")],
    *,
    reason: Reason,
    status: Status = None,
    outcome: Outcome = None,
    definition: Definition = None,
    version: Version = None,
    correlation_id: CorrelationId = None,
    waiting_for: WaitingFor = None,
    label: Labels = None,
    older_than: OlderThan = None,
    to: To = None,
    steps: Map = None,
    dry_run: DryRun = False,
    limit: AtMost = None,
    actor: Actor = None,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Do the same to every instance that the filters find. Exit code 1 when one of them refuses."""
    from tenuto.many import filters

    found = filters(
        status=status,
        outcome=outcome,
        definition=definition,
        version=version,
        correlation_id=correlation_id,
        waiting_for=waiting_for,
        labels=read_pairs(label, "--label"),
        older_than=older_than,
    )
    mapping = read_pairs(steps, "--map")
    with connect(server, actor) as client:
        many = partial(client.batch, act.value, reason, found, version=to, steps=mapping, dry_run=dry_run)
        answer = _all_pages(many, limit)
    if as_json:
        print_json(answer)
    else:
        _print_many(act.value, answer)
    if "refused" in answer["counts"]:
        raise typer.Exit(1)


def _all_pages(page: Callable[..., dict[str, Any]], limit: int | None) -> dict[str, Any]:
    """As one answer; `next` is where a `limit` ended it. `page` is asked with `limit` and `cursor`."""
    results: list[Any] = []
    cursor: str | None = None
    while True:
        left = PAGE if limit is None else min(PAGE, limit - len(results))
        answer = page(limit=left, cursor=cursor)
        results += answer["results"]
        cursor = answer["next"]
        if cursor is None or (limit is not None and len(results) >= limit):
            return {**answer, "results": results, "counts": dict(Counter(one["result"] for one in results))}


def _print_many(act: str, answer: dict[str, Any]) -> None:
    for one in answer["results"]:
        if one["result"] == "refused":
            problem = one["problem"]
            say(f"{one['instanceId']}: {problem.get('detail') or problem['title']}")
    counted = ", ".join(f"{count} {result}" for result, count in sorted(answer["counts"].items()))
    dry = " (dry run: nothing was stored)" if answer["dryRun"] else ""
    say(f"{act}: {counted or 'no instance was found'}{dry}.")


def _print_plan(instance: str, plan: dict[str, Any]) -> None:
    versions = f"from version {plan['fromVersion']} to {plan['toVersion']}"
    if not plan["canMigrate"]:
        say(f"{instance} cannot move {versions}:")
        for obstacle in plan["obstacles"]:
            say(f"  {obstacle['code']}: {obstacle['message']}")
        return
    say(f"{instance} can move {versions}.")
    for execution, step in plan["positions"].items():
        say(f"  {execution} stands at {step}")
    for execution, step in plan["undos"].items():
        say(f"  {execution} is undone by {step}")
