"""What the acts of a person make of the state: appliers of `evolve.py`, in a file of their own."""

from __future__ import annotations

from domain import events as e
from domain.executing import attempted, closed, completed, put_out, undone
from domain.state import State


def paused(state: State, event: e.Paused) -> None:
    state.paused = True


def resumed(state: State, event: e.Resumed) -> None:
    state.paused = False


def step_retried(state: State, event: e.StepRetried) -> None:
    work = attempted(state.open[event.execution]).work
    work.forgiven, work.losses = work.failures, 0


def step_skipped(state: State, event: e.StepSkipped) -> None:
    closed(state, event.execution)
    put_out(state, event.execution, None, None)


def step_given_up(state: State, event: e.StepGivenUp) -> None:
    closed(state, event.execution)


def step_resolved(state: State, event: e.StepResolved) -> None:
    stuck = attempted(state.open[event.execution])
    closed(state, event.execution, accepted=stuck.attempt)
    if stuck.work.undoes is not None:
        undone(state, stuck.work.undoes)
    completed(state, event.execution, stuck.work, event.output)
    put_out(state, event.execution, event.output, event.data)


def data_changed(state: State, event: e.DataChanged) -> None:
    state.data.update(event.data)
