"""Deciding a history again (law 2): its stimuli, asked of the definition that was pinned at each of them.

    decided_again(events, "0-0193…", programs) == events

A migration changes what is pinned; the copies that a fork begins with are decided like any other events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from domain.commands import MigrateInstance
from domain.definition.program import Program
from domain.errors import CorruptHistoryError
from domain.events import Event, InstanceStarted, Migrated
from domain.instance import advance
from domain.state import State
from domain.stimulus import command_of


def decided_again(events: Iterable[Event], id: str, programs: Mapping[str, Program]) -> list[Event]:
    """Everything that the stimuli lead to; `programs` by version. Raises CorruptHistoryError, and any refusal."""
    state, program = State(id=id), None
    told: list[Event] = []
    for event in events:
        if event.at is None:
            continue
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
