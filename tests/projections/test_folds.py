"""The projections' folds, on random definitions and random runs: they say what the domain says, after every command."""

from __future__ import annotations

import msgspec
from hypothesis import HealthCheck, given, settings

from domain.events import Event
from domain.evolve import evolve
from domain.executions import Executions, advance, touched
from domain.happened import timed
from domain.history import current_step, step_executions, waiting_for_of
from domain.state import State
from projections import instances
from projections.step_executions import execution_of, read_row, row_of
from tests.domain.definitions import Tree, definitions
from tests.domain.given import program_of
from tests.domain.test_laws import RandomRun, moves

TRY = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def log_of(tree: Tree, numbers: list[int]) -> list[Event]:
    run = RandomRun(program_of(tree))
    run.play(numbers)
    return run.log


@TRY
@given(definitions(), moves())
def test_an_instance_row_is_what_the_domain_folds(tree: Tree, numbers: list[int]) -> None:
    log = log_of(tree, numbers)
    state = State(id="i1")
    rows: dict[str, instances.Row] = {}
    for now in timed(enumerate(log, start=1)):
        if now.event.at is not None and state.version:
            check(rows["i1"], state)
        evolve(state, now.event)
        instances.advance(rows, "i1", now)
    check(rows["i1"], state)


def check(row: instances.Row, state: State) -> None:
    instances.settle(row)
    assert row.waiting_for == waiting_for_of(state)
    assert row.current_step == current_step(state)
    assert (row.status, row.outcome, row.paused) == (state.status, state.outcome, state.paused)
    assert (row.created_at, row.started_at, row.ended_at) == (
        state.created_at,
        state.started_at,
        state.ended_at,
    )
    assert (row.business_status, row.event_version) == (state.business_status, state.version)


@TRY
@given(definitions(), moves())
def test_a_stored_step_execution_goes_on_as_the_history_does(tree: Tree, numbers: list[int]) -> None:
    """Every event begins from rows, as if each were a batch of its own."""
    log = log_of(tree, numbers)
    stored: dict[str, bytes] = {}
    for now in timed(enumerate(log, start=1)):
        known: Executions = {
            name: execution_of(read_row(row))
            for name, row in stored.items()
            if name in touched(now.event) or b'"kind":"compensate"' in row
        }
        advance(known, now)
        stored |= {name: msgspec.json.encode(row_of("i1", found)) for name, found in known.items()}
    history = step_executions(timed(enumerate(log, start=1)))
    assert stored == {found.execution: msgspec.json.encode(row_of("i1", found)) for found in history}
