"""Deciding a history again (law 2): its stimuli, asked of the definition that was pinned at each of them.

    decided_again(events, "0-0193…", programs) == events

A migration changes what is pinned. The copies that a fork begins with were decided as its original's, whose id is in
those of its children: they are decided so again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from domain.commands import MigrateInstance
from domain.definition.program import Program
from domain.errors import CorruptHistoryError
from domain.events import Event, InstanceStarted
from domain.instance import advance
from domain.moves import Forked, Migrated, Origin
from domain.state import State
from domain.stimulus import command_of


def decided_again(events: Iterable[Event], id: str, programs: Mapping[str, Program]) -> list[Event]:
    """Everything that the stimuli lead to; `programs` by version. Raises CorruptHistoryError, and any refusal."""
    events = list(events)
    state, program = State(id=id), None
    forks = [(version, one.origin) for version, one in enumerate(events, start=1) if isinstance(one, Forked)]
    told: list[Event] = []
    for version, event in enumerate(events, start=1):
        if event.at is None:
            continue
        state.id = decided_as(id, version, forks)
        command = command_of(event, state)
        if isinstance(event, InstanceStarted):
            program = programs[event.version]
        if isinstance(command, MigrateInstance) and isinstance(event, Migrated):
            command = replace(command, target=programs[event.to_version])
        if program is None:
            raise CorruptHistoryError(
                instance_id=id, version=1, problem=f"{type(event).__name__} before any start"
            )
        told += advance(command, state, program)
        if isinstance(command, MigrateInstance) and command.target is not None:
            program = command.target
    return told


def decided_as(id: str, version: int, forks: Iterable[tuple[int, Origin]]) -> str:
    """The instance that an event of `id` was decided as: it, or the one that it was copied of."""
    return next((origin.instance_id for forked_at, origin in forks if version < forked_at), id)
