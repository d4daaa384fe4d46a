"""Commands that ask more: of an instance `why`, `diff`, `undo-plan`, `replay`; of all `verify`; of none yet `what-if`.

`replay` and `verify` end with 1 when something differs. Progress is shown on a terminal only, on stderr.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tenuto.cli.choosing import Labels, Status
from tenuto.cli.command import (
    Instance,
    Json,
    Server,
    command,
    complain,
    connect,
    print_json,
    read_pairs,
    say,
)
from tenuto.surroundings import DEFAULT_SERVER

if TYPE_CHECKING:
    from tenuto.client import Client

PAGE = 1_000  # instances that are verified, or run again, in one request

Decide = Annotated[
    bool, typer.Option("--decide", help="Decide again what was asked, on the definition it is pinned to.")
]


@command("tenuto why 0-0199…")
def why(instance: Instance, *, server: Server = DEFAULT_SERVER, as_json: Json = False) -> None:
    """Say why an instance is not moving, since when, and what would move it."""
    with connect(server) as client:
        answer = client.why(instance)
    if as_json:
        print_json(answer)
        return
    from tenuto.cli import render

    render.table("causes", answer["causes"])
    for cause in answer["causes"]:
        for move in cause.get("moves", []):
            where = f" ({cause['execution']})" if cause.get("execution") else ""
            how = move.get("command") or (f"at {move['at']}" if move.get("at") else "")
            say(f"  {move['what']}{where}{': ' if how else ''}{how}")


@command("tenuto diff 0-0199… 12 2026-11-23T12:00:00Z")
def diff(
    instance: Instance,
    begin: Annotated[str, typer.Argument(metavar="FROM", help="A version, or a time (RFC 3339).")],
    end: Annotated[str | None, typer.Argument(metavar="[TO]", help="The same; now when left out.")] = None,
    *,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Show what changed between two versions or moments, and the events that changed it."""
    with connect(server) as client:
        answer = client.diff(instance, begin, end)
    if as_json:
        print_json(answer)
        return
    from tenuto.cli import render

    first, last = answer["from"], answer["to"]
    say(f"From version {first['version']} ({first['at']}) to {last['version']} ({last['at']})")
    render.table("changes", answer["changes"])
    names = [f"{one['version']} {one['type']}" for one in answer["events"]]
    more = f", and {answer['moreEvents']} more" if answer.get("moreEvents") else ""
    say(f"Events: {', '.join(names) or 'none'}{more}")


@command("tenuto undo-plan 0-0199…", name="undo-plan")
def undo_plan(instance: Instance, *, server: Server = DEFAULT_SERVER, as_json: Json = False) -> None:
    """Show what a rollback would undo now, first things first, and what would stay."""
    with connect(server) as client:
        plan = client.undo_plan(instance)
    if as_json:
        print_json(plan)
        return
    if plan["steps"]:
        from tenuto.cli import render

        render.table("undo-plan", plan["steps"])
    else:
        say(f"Nothing of {instance} would be undone.")
    for one in plan.get("standing", []):
        say(f"Stays: {one['execution']} (its step has no compensateWith)")
    for one in plan.get("mayJoin", []):
        say(f"Is undone by {one['undoStep']} if it succeeds after all: {one['execution']} ({one['why']})")


@command("tenuto replay 0-0199…")
def replay(
    instance: Instance, *, decide: Decide = False, server: Server = DEFAULT_SERVER, as_json: Json = False
) -> None:
    """Fold an instance's log again and compare it with all that is derived from it."""
    with connect(server) as client:
        verdict = client.replay(instance, decide=decide)
    if as_json:
        print_json(verdict)
    elif verdict.get("equal"):
        say(f"{instance}: the log folds to exactly what is served.")
    else:
        _print_replayed(instance, verdict)
    if not verdict.get("equal"):
        raise typer.Exit(1)


def _print_replayed(instance: str, verdict: dict[str, Any]) -> None:
    for one in verdict.get("differences", []):
        sides = " and ".join(
            f"{side} {json.dumps(one[side])}" for side in ("live", "replayed") if side in one
        )
        complain(f"{instance}: memory: {one['path']} is {sides}")
    _print_problems(instance, verdict.get("problems", []))
    for one in verdict.get("projections", []):
        if one["sample"] or one.get("problem"):
            complain(f"projection {one['projection']}: {one.get('problem') or 'its rows differ'}")
            for line in one["sample"]:
                complain(f"  {line}")
    say(f"{instance}: something is not what its log says.")


def _print_problems(instance: str, problems: list[dict[str, Any]]) -> None:
    for problem in problems:
        at = f" at version {problem['version']}" if problem.get("version") else ""
        complain(f"{instance}: {problem['check']}{at}: {problem['message']}")


@command("tenuto verify --all")
def verify(
    instance: Annotated[
        str | None, typer.Argument(metavar="[INSTANCE]", help="One instance; or else --all.")
    ] = None,
    *,
    every: Annotated[
        bool, typer.Option("--all", help="All instances, and every row of every projection.")
    ] = False,
    decide: Decide = False,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Compare the log with everything that is derived from it: snapshots, what is owed, projections."""
    if (instance is None) is not every:
        raise typer.BadParameter("name one instance, or say --all", param_hint="INSTANCE")
    if instance is not None:
        replay(instance, decide=decide, server=server, as_json=as_json)
        return
    with connect(server) as client:
        verdict = _verified(client, decide=decide)
    if as_json:
        print_json(verdict)
    else:
        _print_verified(verdict)
    if not verdict["equal"]:
        raise typer.Exit(1)


def _verified(client: Client, *, decide: bool) -> dict[str, Any]:
    checked = events = 0
    failed: list[Any] = []
    cursor: str | None = None
    while True:
        page = client.verify(decide=decide, limit=PAGE, cursor=cursor)
        checked, events = checked + page["checked"], events + page["events"]
        failed += page["failed"]
        _progress(f"{checked} instances, {events} events, {len(failed)} differ")
        cursor = page["next"]
        if cursor is None:
            break
    rows: list[dict[str, Any]] = []
    for projection in client.projections()["projections"]:
        _progress(f"projection {projection['name']}")
        rows.append({"projection": projection["name"], **client.check_projection(projection["name"])})
    _progress("")
    equal = not failed and all(one["equal"] for one in rows)
    return {"equal": equal, "checked": checked, "events": events, "failed": failed, "projections": rows}


def _print_verified(verdict: dict[str, Any]) -> None:
    for one in verdict["failed"]:
        _print_problems(one["instance"], one["problems"])
    for one in verdict["projections"]:
        if not one["equal"]:
            differ = one["onlyLive"] + one["onlyRebuilt"]
            complain(f"projection {one['projection']}: {differ} rows differ")
            for line in one["sample"]:
                complain(f"  {line}")
    rows = sum(one["live"] for one in verdict["projections"])
    said = "all is what the log says" if verdict["equal"] else "something differs"
    say(f"{verdict['checked']} instances, {verdict['events']} events, {rows} rows of projections: {said}.")


@command("tenuto what-if order.yaml --since 30d", name="what-if")
def what_if(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The new definition, YAML or JSON.")],
    *,
    definition: Annotated[
        str | None, typer.Option("--definition", help="Whose histories; by default of the same name.")
    ] = None,
    version: Annotated[
        list[str] | None, typer.Option("--version", help="Only of this old version; repeatable.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Started no longer ago (30d).")
    ] = None,
    status: Status = None,
    label: Labels = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most so many histories.")] = None,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Try a new definition on recorded histories: nothing is written, nothing is called."""
    labels = read_pairs(label, "--label")
    total: dict[str, Any] = {}
    with connect(server) as client:
        left, cursor = limit, None
        while True:
            page = client.what_if(
                file,
                definition,
                versions=version or (),
                since=since,
                status=status or (),
                labels=labels,
                limit=PAGE if left is None else min(PAGE, left),
                cursor=cursor,
            )
            total = _added(total, page)
            left = None if left is None else left - page["judged"]
            cursor = page["next"]
            _progress(f"{total['judged']} histories, {total['same']} go the same way")
            if cursor is None or (left is not None and left <= 0):
                break
    _progress("")
    if as_json:
        print_json(total)
    else:
        _print_what_if(total)


def _added(total: dict[str, Any], page: dict[str, Any]) -> dict[str, Any]:
    """Numbers are added; groups that part alike become one."""
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for group in (*total.get("groups", ()), *page["groups"]):
        key = tuple(group[name] for name in ("went", "step", "recorded", "now"))
        known = groups.setdefault(key, {**group, "count": 0, "examples": []})
        known["count"] += group["count"]
        known["examples"] = [*known["examples"], *group["examples"]][:5]
    added = {name: total.get(name, 0) + value for name, value in page.items() if isinstance(value, int)}
    most_first = sorted(groups.values(), key=lambda group: -group["count"])
    return {**page, **added, "groups": most_first}


def _print_what_if(total: dict[str, Any]) -> None:
    from tenuto.cli import render

    if not total["judged"] and not total["unreadable"]:
        say("There is no recorded history that fits.")
        return
    for name, said in (
        ("same", "go the same way"),
        ("diverged", "go another way"),
        ("needsResult", "need a result that was never recorded"),
        ("unreadable", "cannot be read"),
    ):
        if total[name] or name == "same":
            say(f"{total[name]} of {total['judged']} {said}.")
    if total["changedInputs"]:
        say(f"{total['changedInputs']} of those that go the same way would ask services with other input.")
    if total["groups"]:
        render.table("ways", total["groups"])
        for why in _reasons(total["groups"]):
            say(f"  {why}")


def _reasons(groups: list[dict[str, Any]]) -> Iterator[str]:
    for group in groups:
        for one in group["examples"][:1]:
            yield f"{one['instance']} at version {one['version']}: {one['why']}"


def _progress(text: str) -> None:
    """Over the line before, on a terminal; elsewhere nothing."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()
