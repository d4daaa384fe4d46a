"""Acts on all instances that a filter finds, and moving them to another version of their definition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Query
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

from api import bodies
from api.acting import Make, asked_by, execution_meant
from api.batches import Choose, act_on_all, selected
from api.bodies import BatchBody, FilterBody, MigrateBody, MigrateManyBody
from api.errors import InvalidBodyError
from api.reading import expected_version, state_of, view_now
from api.routes import examples
from api.routes.lists import MinPosition, fresh
from api.routing import ACTOR, Routes
from api.wiring import caller_of, etag, namespace_of, reply, wiring_of
from domain import commands as c
from domain.definition.program import Program
from domain.migration import plan
from domain.state import State
from domain.status import TERMINAL, TRANSITIONS

routes = Routes("batches")

DryRun = Annotated[bool, Query(alias="dryRun", description="Only say what would happen.")]
GOING_ON = tuple(status for status in TRANSITIONS if status not in TERMINAL)


# Migration -----------------------------------------------------------------------


@routes.add(
    "POST",
    "/v1/instances/{instance_id}/migrate",
    answers={200: examples.INSTANCE},
    body=MigrateBody,
    example=examples.REASON | {"toVersion": "2", "mapping": {"steps": {"charge": "pay"}}},
    problems=(404, 409, 412, 413, 415),
    headers=(*ACTOR, "If-Match"),
)
async def migrate_instance(request: Request, instance_id: str, *, dry_run: DryRun = False) -> Response:
    """Move an instance to another version of its definition.

    To the newest when `toVersion` is left out. `mapping.steps` says which step is called otherwise there. A dry run
    answers `{canMigrate, fromVersion, toVersion, positions, undos, obstacles}`; refused, the problem has the
    `obstacles`, each with a stable `code`.
    """
    body, _ = await bodies.read(request, MigrateBody)
    state = await state_of(request, instance_id)
    engine = wiring_of(request).engine
    target = await engine.program(state.namespace, state.definition, body.to_version)
    if dry_run:
        found = plan(state, await engine.program_of(state), target, body.mapping.steps)
        return reply(
            {
                "canMigrate": not found.obstacles,
                "fromVersion": state.definition_version,
                "toVersion": target.version,
                "positions": found.positions,
                "undos": found.undos,
                "obstacles": found.obstacles,
            }
        )
    make = _migrates(target, body.mapping.steps, None)
    command = asked_by(caller_of(request, body.actor), body.reason, make)
    await engine.act(instance_id, command, expected_version=expected_version(request))
    view = await view_now(request, instance_id)
    return reply(view, 200, {"ETag": etag(view["version"])})


@routes.add(
    "POST",
    "/v1/definitions/{name}/migrate",
    answers={200: examples.BATCH},
    body=MigrateManyBody,
    example=examples.REASON
    | {"fromVersion": "1", "toVersion": "2", "mapping": {"steps": {"charge": "pay"}}, "limit": 100},
    problems=(404, 413, 415),
    headers=ACTOR,
)
async def migrate_instances(
    request: Request, name: str, *, dry_run: DryRun = False, min_position: MinPosition = None
) -> Response:
    """Move the instances of a version to another one.

    All that have not ended, or those that `filter` finds; a page at a time, each on its own: `results` say who has
    moved (in a dry run, who can), who cannot, and why. Go on with `next` as `cursor`.
    """
    body, _ = await bodies.read(request, MigrateManyBody)
    target = await wiring_of(request).engine.program(namespace_of(request), name, body.to_version)
    asked = replace(body.filter or FilterBody(), definition=name, version=body.from_version)
    if not asked.status:
        asked = replace(asked, status=list(GOING_ON))
    make = _migrates(target, body.mapping.steps, body.from_version)
    return await _batch(request, body, asked, lambda _: make, dry_run=dry_run, min_position=min_position)


def _migrates(target: Program, steps: dict[str, str], from_version: str | None) -> Make:
    return lambda envelope: c.MigrateInstance(
        **envelope, target=target, steps=steps, from_version=from_version
    )


# Any act -------------------------------------------------------------------------


@routes.add(
    "POST",
    "/v1/instances/batch",
    answers={200: examples.BATCH},
    body=BatchBody,
    example=examples.REASON
    | {"act": "cancel", "filter": {"definition": "order", "status": ["waiting"], "olderThan": "7d"}},
    problems=(404, 413, 415),
    headers=ACTOR,
)
async def act_on_instances(
    request: Request, *, dry_run: DryRun = False, min_position: MinPosition = None
) -> Response:
    """Do the same to many instances.

    To those that `filter` finds (the filters of the list), a page at a time, each as a command of its own: `results`
    say what became of each. Go on with `next` as `cursor`. With `dryRun` nothing is stored.
    """
    body, _ = await bodies.read(request, BatchBody)
    if body.act == "migrate":
        choose = await _choose_migration(request, body)
    else:
        choose = CHOOSE[body.act]
    return await _batch(request, body, body.filter, choose, dry_run=dry_run, min_position=min_position)


async def _choose_migration(request: Request, body: BatchBody) -> Choose:
    if body.filter.definition is None:
        raise InvalidBodyError(
            problem="to migrate, say of which definition", path="$.filter.definition", errors=[]
        )
    engine, namespace = wiring_of(request).engine, namespace_of(request)
    target = await engine.program(namespace, body.filter.definition, body.to_version)
    make = _migrates(target, body.mapping.steps, body.filter.version)
    return lambda _: make


def _plainly(kind: type[c.Command]) -> Choose:
    return lambda _: lambda envelope: kind(**envelope)


def _on_step(kind: type[Any], *, undo: bool | None) -> Choose:
    """On the only execution that waits for a person."""

    def choose(state: State) -> Make:
        execution = execution_meant(state, None, undo=undo)
        return lambda envelope: kind(**envelope, execution=execution)

    return choose


CHOOSE: dict[str, Callable[[State], Make]] = {
    "cancel": _plainly(c.CancelInstance),
    "terminate": _plainly(c.TerminateInstance),
    "compensate": _plainly(c.UndoInstance),
    "pause": _plainly(c.PauseInstance),
    "resume": _plainly(c.ResumeInstance),
    "retry": _on_step(c.RetryStep, undo=None),
    "skip": _on_step(c.SkipStep, undo=False),
    "fail": _on_step(c.FailStuckStep, undo=False),
    "give-up": _on_step(c.SkipStep, undo=True),
}


async def _batch(
    request: Request,
    body: BatchBody | MigrateManyBody,
    asked: FilterBody,
    choose: Choose,
    *,
    dry_run: bool,
    min_position: int | None,
) -> Response:
    selection = selected(request, asked, body.limit, body.cursor)
    await fresh(request, "instances", min_position)
    caller = caller_of(request, body.actor)
    return reply(await act_on_all(request, selection, choose, caller, body.reason, dry_run=dry_run))
