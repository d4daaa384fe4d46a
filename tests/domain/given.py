"""The words that the domain's tests are written in.

    given(program, *events).when(command).then(*events)      one decision
    Run(program).start(...).complete("charge", {...})        a whole run, by step id, with a clock of its own

A Run holds every command to the laws of `laws.py`: a test that only wants a scenario proves them along the way.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec

from domain import commands as c
from domain.calls import StepError
from domain.commands import Command
from domain.definition.document import read_document
from domain.definition.model import DefinitionModel
from domain.definition.program import Program, compile_definition
from domain.durations import parse_duration
from domain.errors import TenutoError
from domain.events import Event, Json, StatusChanged
from domain.instance import advance, decide, evolve, owed
from domain.owed import Effect, Invoke
from domain.state import Attempted, Queued, Running, State, step_of
from tests.domain.laws import check

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
ID = "0-018f"
E = TypeVar("E", bound=Event)


def define(text: str, version: str = "1") -> Program:
    """The program of a definition in YAML; `name` may be left out."""
    lines = text if "\nname:" in f"\n{text}" else f"name: test\n{text}"
    return program_of(read_document(lines, "test").tree, version)


def program_of(tree: dict[str, Any], version: str = "1") -> Program:
    """The program of a definition's tree, unverified: what would be refused at deploy can be tried too."""
    return compile_definition(DefinitionModel.model_validate(tree), version, "hash")


def tasks(*ids: str, **fields: str) -> str:
    """Steps in YAML: one task after the other, each with the given fields (`fields` are texts of YAML)."""
    more = "".join(f", {name}: {value}" for name, value in fields.items())
    return "".join(
        f"  - {{id: {step}, type: task, action: http:shop/{step}{more}"
        + (f", next: {ids[number + 1]}" if number + 1 < len(ids) else "")
        + "}\n"
        for number, step in enumerate(ids)
    )


def at(after: str = "0s") -> datetime:
    """A moment of a run, by the time since its start."""
    return START + timedelta(milliseconds=parse_duration(after))


def error(type: str = "BoomError", message: str = "boom", *, retryable: bool = True) -> StepError:
    return StepError(type=type, message=message, retryable=retryable)


def bare(event: Event) -> Event:
    """The event without what a stimulus carries of its command, the reason excepted."""
    found = copy.copy(event)
    found.at = found.command_id = found.actor = found.request_id = None
    return found


def encoded(state: State) -> bytes:
    return msgspec.json.encode(state)


class Decision:
    """`given(...).when(...)`: what came of one command."""

    def __init__(self, program: Program, state: State, command: Command) -> None:
        self._program, self._state, self._command = program, state, command

    def then(self, *events: Event) -> None:
        """Exactly these events, in this order."""
        found = [bare(event) for event in decide(self._command, self._state, self._program)]
        assert found == list(events)

    def then_nothing(self) -> None:
        self.then()

    def refused(self, kind: type[TenutoError]) -> TenutoError:
        """The refusal, which has changed nothing."""
        before = encoded(self._state)
        try:
            events = advance(self._command, self._state, self._program)
        except kind as refusal:
            assert encoded(self._state) == before
            return refusal
        raise AssertionError(f"{self._command} was granted: {events}")


class given:  # noqa: N801 - a word of the vocabulary
    def __init__(self, program: Program, *events: Event) -> None:
        self.program, self.state = program, State(id=ID)
        for event in events:
            evolve(self.state, event)

    def when(self, command: Command) -> Decision:
        return Decision(self.program, self.state, command)


class Run:
    """One instance played by hand. Steps are named by their id, or by their execution where that is not enough."""

    def __init__(self, program: Program | str) -> None:
        self.program = define(program) if isinstance(program, str) else program
        self.state = State(id=ID)
        self.log: list[Event] = []
        self.now = START
        self._asked = 0

    # Asking ----------------------------------------------------------------------

    def ask(self, kind: type[Command], **fields: Any) -> list[Event]:
        """Decides the command now, folds its events and returns them."""
        self._asked += 1
        command = kind(at=self.now, command_id=f"c{self._asked}", **fields)
        before = copy.deepcopy(self.state)
        events = advance(command, self.state, self.program)
        self.log += events
        check(before, command, events, self.state, self.program)
        if isinstance(command, c.MigrateInstance) and events:
            assert command.target is not None
            self.program = command.target
        return events

    def refuses(self, refused: type[TenutoError], kind: type[Command], **fields: Any) -> TenutoError:
        """The refusal of the command, which has changed nothing."""
        before = encoded(self.state)
        try:
            events = advance(kind(at=self.now, **fields), self.state, self.program)
        except refused as refusal:
            assert encoded(self.state) == before
            return refusal
        raise AssertionError(f"{kind.__name__} was granted: {events}")

    def later(self, time: str) -> Run:
        self.now += timedelta(milliseconds=parse_duration(time))
        return self

    def start(self, input: Json = None, **fields: Any) -> Run:
        self.ask(c.StartInstance, namespace="default", input={} if input is None else input, **fields)
        return self

    def claim(self, step: str, worker: str = "w1") -> dict[str, Any]:
        """Takes the attempt when it is due; returns what its results are reported with."""
        execution = self.execution(step)
        queued = self.state.open[execution]
        assert isinstance(queued, Queued), f"{execution} is {queued}"
        self.now = max(self.now, queued.due_at)
        lease = {
            "execution": execution,
            "attempt": queued.attempt,
            "token": f"{execution}/{queued.attempt}/{worker}",
        }
        self.ask(c.ClaimStep, worker=worker, **lease)
        return lease

    def lease(self, step: str) -> dict[str, Any]:
        """What a result of the attempt under way is reported with; claims it first if nobody has."""
        execution = self.execution(step)
        running = self.state.open[execution]
        if isinstance(running, Queued):
            return self.claim(step)
        assert isinstance(running, Running), f"{execution} is {running}"
        return {"execution": execution, "attempt": running.attempt, "token": running.token}

    def complete(self, step: str, output: Json = None) -> Run:
        self.ask(c.CompleteStep, output={} if output is None else output, **self.lease(step))
        return self

    def fail(self, step: str, error: StepError | None = None, retry_after: str | None = None) -> Run:
        self.ask(
            c.FailStep,
            error=error or StepError(type="BoomError", message="boom"),
            retry_after_ms=None if retry_after is None else parse_duration(retry_after),
            **self.lease(step),
        )
        return self

    def fail_for_good(self, step: str, type: str = "BoomError", message: str = "boom") -> Run:
        return self.fail(step, StepError(type=type, message=message, retryable=False))

    def lose(self, step: str) -> Run:
        self.ask(c.LoseLease, **self.lease(step))
        return self

    def signal(self, name: str, payload: Json = None, id: str | None = None) -> Run:
        self.ask(c.SendSignal, name=name, payload=payload, signal_id=id or f"{name}-{self._asked}")
        return self

    def fire(self, key: str, alive_at: datetime | None = None) -> list[Event]:
        return self.ask(c.FireTimer, key=self._key(key), alive_at=alive_at)

    def time_out(self, key: str) -> list[Event]:
        """Fires the timer of a step or key when it is due."""
        effect = self.owed[self._key(key)]
        assert effect.timer_at is not None, f"{key} has no timer"
        self.now = max(self.now, effect.timer_at)
        return self.fire(key)

    def serve(self, answers: Mapping[str, Any] | None = None) -> Run:
        """Answers whatever is handed out, until nothing is: by default with `{}`; a StepError fails the step."""
        for _ in range(1_000):
            due = [effect for effect in self.owed.values() if isinstance(effect, Invoke)]
            if not due:
                return self
            step = step_of(self.state.open[due[0].key])
            answer = (answers or {}).get(step, {})
            if isinstance(answer, StepError):
                self.fail(due[0].key, answer)
            else:
                self.complete(due[0].key, answer)
        raise AssertionError("it never ends")

    # Looking ---------------------------------------------------------------------

    def execution(self, step: str) -> str:
        """The only open execution of the step."""
        if "#" in step:
            return step
        found = [name for name, execution in self.state.open.items() if step_of(execution) == step]
        assert len(found) == 1, f"{step} is open as {found}; open: {list(self.state.open)}"
        return found[0]

    def _key(self, key: str) -> str:
        return key if key.startswith("@") else self.execution(key)

    @property
    def owed(self) -> dict[str, Effect]:
        return owed(self.state)

    @property
    def status(self) -> str:
        return self.state.status

    @property
    def handed_out(self) -> list[str]:
        """The steps that workers may take now."""
        due = [effect for effect in self.owed.values() if isinstance(effect, Invoke)]
        return [step_of(self.state.open[effect.key]) for effect in due]

    @property
    def input(self) -> Json:
        """The input of the only attempt that is open."""
        (found,) = (one.work.input for one in self.state.open.values() if isinstance(one, Attempted))
        return found

    @property
    def statuses(self) -> list[str]:
        changes = self.all(StatusChanged)
        return ["pending", *(change.to for change in changes)]

    def all(self, kind: type[E]) -> list[E]:
        return [event for event in self.log if type(event) is kind]

    def last(self, kind: type[E]) -> E:
        found = self.all(kind)
        assert found, f"no {kind.__name__} in {self.names}"
        return found[-1]

    @property
    def names(self) -> list[str]:
        return [type(event).__name__ for event in self.log]


def names(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]
