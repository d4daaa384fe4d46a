"""Whether what clients were told could be true when they were told it: linearizability of each instance's API (I16).

What was granted with events stands in the log, in its place. What was refused, or granted because it was so already,
left nothing there: some version of the instance between asking and hearing must give that very answer.
"""

from __future__ import annotations

from collections.abc import Mapping

from domain.definition.program import Program
from domain.errors import TenutoError
from domain.evolve import evolve
from domain.instance import decide
from domain.state import State
from engine.messages import Envelope
from simulation.clients import Asked
from simulation.instance import Instance
from simulation.invariants import Programs, Watch
from simulation.virtual_time import ViolationError


def check_answers(watch: Watch, asked: list[Asked], programs: Programs) -> None:
    for one in asked:
        instance = watch.instances.get(one.instance)
        if instance is None or one.make is None:
            continue
        if one.answer is not None and one.answer.version < one.least:
            raise ViolationError(
                f"I16: {one.what} {one.id} was asked at version {one.least}, and answered at {one.answer.version}"
            )
        if one.refused_with is not None or (one.answer is not None and not one.answer.events):
            _check(one, instance, programs[instance.state.definition])


def _check(one: Asked, instance: Instance, versions: Mapping[str, Program]) -> None:
    state = State(id=instance.state.id)
    told: list[str] = []
    for event in (*instance.events[: one.most], None):
        if state.version >= one.least:
            answer = _answer(one, state, versions[state.definition_version])
            if answer == one.refused_with:
                return
            told.append("granted" if answer is None else answer)
        if event is not None:
            evolve(state, event)
    said = one.refused_with or "that it was so already"
    instance.fail(
        "I16",
        f"{one.what} {one.id} was told {said} between versions {one.least} and {one.most}: {dict.fromkeys(told)}",
    )


def _answer(one: Asked, state: State, program: Program) -> str | None:
    """The type of the refusal; None when there is nothing to do; `events` when there is."""
    assert one.make is not None
    assert state.now is not None
    try:
        events = decide(one.make(Envelope(state.now, "", 0.0), one.id), state, program)
    except TenutoError as refusal:
        return type(refusal).__name__
    return "events" if events else None
