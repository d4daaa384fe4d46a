"""The pure part of the hot path by itself: µs per event of one saga's life, so that a regression has an address."""

from __future__ import annotations

import timeit
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench
from benchmarks.rows import Row, at_most, row
from benchmarks.work import SAGA_YAML, order_input, step_result
from domain.codec import decode, encode, topic_of
from domain.commands import ClaimStep, Command, CompleteStep, SendSignal, StartInstance
from domain.definition.parse import read_definition
from domain.definition.program import Program
from domain.events import Event
from domain.expressions.conditions import compile_condition
from domain.instance import advance, evolve, owed
from domain.owed import Invoke, Listen
from domain.state import State
from engine.rows import rows_of

ID = "0-019308a8e9c77e3f8a5d1c2b3a495867"
AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
CONDITION = "$.payment.status == 'declined' && $.total > 100"
DATA = {"payment": {"status": "declined"}, "total": 120}
ROUNDS = 2_000
ORDER = Path(__file__).parents[2] / "examples" / "order" / "order.yaml"
ORDER_INPUT = {
    "orderId": "order-00000001",
    "amount": 250_000,
    "paymentMethod": "card",
    "items": [{"sku": "book", "quantity": 2}, {"sku": "lamp", "quantity": 1}],
    "shippingAddress": {"city": "Bern", "street": "Aarberg 1"},
    "customerTier": "premium",
    "email": "ada@example.org",
}
ANSWER = {"status": "approved", "decision": "approved", "by": "bob"} | dict.fromkeys(
    ("paymentId", "reservationId", "shipmentId", "trackingNumber", "invoiceId", "packageId"), "x-00000001"
)
"""What any service, or the approver, says of the order."""
ORDER_MICROS = 60


def saga_program() -> Program:
    return read_definition(SAGA_YAML).program("1")


def saga_commands(program: Program) -> list[Command]:
    """All that happens to one saga: its start, then for each step the claim and the result."""
    state = State(id=ID)
    commands: list[Command] = []

    def ask(command: Command) -> None:
        commands.append(command)
        advance(command, state, program)

    ask(StartInstance(at=AT, command_id="c-0", namespace="default", input=order_input(1)))
    while due := [effect for effect in owed(state).values() if isinstance(effect, Invoke)]:
        execution, attempt, token = due[0].key, due[0].attempt, f"token-of-{due[0].key}"
        at, id = AT + timedelta(milliseconds=len(commands)), f"c-{len(commands)}"
        ask(ClaimStep(at=at, command_id=id, execution=execution, attempt=attempt, worker="w1", token=token))
        out = step_result(due[0].action.rpartition("/")[2], "order-00000001")
        ask(CompleteStep(at=at, command_id=id, execution=execution, attempt=attempt, token=token, output=out))
    assert state.status == "completed"
    return commands


def order_commands(program: Program) -> list[Command]:
    """All that happens to one order of the example: it is approved, and every service says yes."""
    state = State(id=ID)
    commands: list[Command] = []

    def ask(kind: type[Command], **fields: Any) -> None:
        at, id = AT + timedelta(milliseconds=len(commands)), f"c-{len(commands)}"
        commands.append(kind(at=at, command_id=id, **fields))
        advance(commands[-1], state, program)

    ask(StartInstance, namespace="default", input=ORDER_INPUT)
    while not state.ended:
        due = next(effect for effect in owed(state).values() if isinstance(effect, Invoke | Listen))
        if isinstance(due, Listen):
            ask(SendSignal, signal_id=due.key, name=due.signal, payload=ANSWER)
            continue
        lease = {"execution": due.key, "attempt": due.attempt, "token": f"token-of-{due.key}"}
        ask(ClaimStep, worker="w1", **lease)
        ask(CompleteStep, output=ANSWER, **lease)
    assert state.outcome == "succeeded", state.error
    return commands


def saga_events(program: Program) -> list[Event]:
    state = State(id=ID)
    return [event for command in saga_commands(program) for event in advance(command, state, program)]


def run(bench: Bench) -> Iterator[Row]:
    program = saga_program()
    events = saga_events(program)
    settings = {"events": len(events)}
    for name, work in _per_saga(program, events).items():
        yield row(f"micro.{name}", "µs/event", _micros(bench, work, len(events)), settings)
    yield _order(bench)
    holds = compile_condition(CONDITION)
    assert holds(DATA)
    took = _micros(bench, lambda: holds(DATA), 1)
    yield row("micro.condition", "µs", took, {"condition": CONDITION})


def _order(bench: Bench) -> Row:
    """Of the order of the example: what its commands cost to decide, fold and write down, in all."""
    program = read_definition(ORDER.read_text(encoding="utf-8")).program("1")
    commands = order_commands(program)

    def live() -> int:
        state = State(id=ID)
        return len([encode(event) for command in commands for event in advance(command, state, program)])

    events = live()
    took = _micros(bench, live, events)
    settings = {"events": events, "commands": len(commands)}
    return row("micro.order", "µs/event", took, settings, target=at_most(ORDER_MICROS))


def _per_saga(program: Program, events: list[Event]) -> dict[str, Callable[[], object]]:
    """What is done for one saga: commands decided and folded, what is owed after each, events written and read."""
    commands = saga_commands(program)
    stored = [(topic_of(event), encode(event)) for event in events]
    states = _states(commands, program)

    def decide() -> None:
        state = State(id=ID)
        for command in commands:
            advance(command, state, program)

    def fold() -> None:
        state = State(id=ID)
        for event in events:
            evolve(state, event)

    return {
        "decide": decide,
        "owed": lambda: [rows_of(state) for state in states],
        "encode": lambda: [encode(event) for event in events],
        "decode": lambda: [decode(topic, payload) for topic, payload in stored],
        "fold": fold,
    }


def _states(commands: list[Command], program: Program) -> list[State]:
    """The state after each command."""
    states = []
    for count in range(1, len(commands) + 1):
        state = State(id=ID)
        for command in commands[:count]:
            advance(command, state, program)
        states.append(state)
    return states


def _micros(bench: Bench, work: Callable[[], object], parts: int) -> list[float]:
    """µs per part, of so many rounds, as often as is asked."""
    rounds = bench.sized(ROUNDS, least=5)
    timer = timeit.Timer(work)
    timer.timeit(rounds // 5)  # Warm caches and specialised bytecode.
    return [seconds / rounds / parts * 1e6 for seconds in timer.repeat(bench.repeat, rounds)]
