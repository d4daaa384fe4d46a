"""What is stored stays readable: one golden file per event, written once by hand and never by a test.

A golden file holds the payload as PostgreSQL has it. If a test here fails after a change of `domain/events.py`, the
change would make stored histories unreadable: leave the class as it is and register a new shape as `Name@2`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import fields

from domain import codec, commands, moves, other_events
from domain import events as e
from domain.calls import StepError
from domain.commands import Command
from domain.errors import CorruptHistoryError
from domain.evolve import APPLIERS
from domain.instance import HANDLERS
from domain.state import State
from domain.stimulus import STIMULI, command_of

GOLDEN = Path(__file__).parent / "golden"
CATALOGUE = Path(__file__).parents[2] / "docs/reference/events.md"
AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = datetime(2026, 1, 2, 12, 30, 0, 250_000, tzinfo=UTC)
DECLINED = StepError(
    type="PaymentDeclinedError",
    message="no funds",
    retryable=False,
    code="51",
    details={"declineReason": "no funds"},
)
CLOSED = StepError(type="ClosedError", message="closed")
BY: dict[str, Any] = {"at": AT, "command_id": "c1", "actor": "ann", "reason": "because"}

EVENTS: list[e.Event] = [
    e.InstanceStarted(
        **BY,
        request_id="r1",
        namespace="default",
        definition="order",
        version="1",
        definition_hash="0f",
        input={"orderId": "o1", "amount": 100},
        correlation_id="o1",
        labels={"tier": "premium"},
        priority="high",
        timeout_at=LATER,
        start_at=AT,
        parent=e.Parent(instance_id="0-1", execution="invoice#1"),
        idempotency_key="k1",
    ),
    e.StatusChanged(
        reason="no funds",
        from_status="running",
        to="failed",
        outcome="failed",
        result={"status": "failed"},
        error=DECLINED,
        standing=["charge#1"],
    ),
    e.BusinessStatusChanged(to="processing_payment"),
    e.StepScheduled(
        execution="charge#1/undo",
        step="refund",
        name="Refund",
        attempt=1,
        action="http:payments/refund",
        queue="http:payments",
        input={"paymentId": "p1"},
        priority="high",
        due_at=AT,
        timeouts=e.Timeouts(
            schedule_to_start_at=LATER,
            schedule_to_close_at=LATER,
            start_to_close_ms=30_000,
            heartbeat_ms=20_000,
            alert_after_ms=300_000,
        ),
        compensate_with="undoRefund",
        undoes="charge#1",
        child=e.ChildOrder(
            definition="invoice",
            do="cancel",
            version="3",
            correlation_id="o-1",
            labels={"region": "eu"},
            timeout_at=LATER,
            depth=2,
            reason="the customer withdrew",
        ),
    ),
    e.StepStarted(at=AT, command_id="c1", execution="charge#1", attempt=1, worker="w1", token="t1"),
    e.StepProgressed(at=AT, command_id="c1", execution="charge#1", attempt=1, progress={"done": 7}),
    e.StepCompleted(
        at=AT,
        command_id="c1",
        execution="charge#1",
        attempt=1,
        output={"paymentId": "p1"},
        data={"payment": {"paymentId": "p1"}},
    ),
    e.StepFailed(
        at=AT,
        command_id="c1",
        entropy=0.25,
        execution="charge#1",
        attempt=1,
        error=CLOSED,
        timeout="startToClose",
        retry_at=LATER,
    ),
    e.StepCancelled(reason="because", execution="charge#1"),
    e.ResultIgnored(
        at=AT,
        command_id="c1",
        execution="charge#1",
        attempt=1,
        why="late",
        output={"paymentId": "p1"},
        error=CLOSED,
    ),
    e.DecisionMade(execution="isPaidFor#1", step="isPaidFor", next="declined", transition=0),
    e.WaitStarted(
        execution="approval#1", step="approval", signal="approval", correlation_key="o1", until=LATER
    ),
    e.WaitEnded(
        execution="approval#1", by="signal", signal_id="s1", data={"approval": {"decision": "approved"}}
    ),
    e.SignalReceived(**BY, signal_id="s1", name="approval", payload={"decision": "approved"}),
    e.SignalHandled(signal_id="s1", do="set", data={"shippingAddress": {"city": "Bonn"}}),
    e.ScopeOpened(execution="prepare#1", step="prepare", blocks=["packing", "papers"]),
    e.BlockEnded(execution="prepare.pack#1", block="2", output={"sku": "CELLO-1"}),
    e.BlockFailed(execution="prepare#1", block="packing", error=CLOSED),
    e.ScopeClosed(execution="prepare#1", data={"packages": [1, 2]}),
    e.SavepointReached(name="stocked", execution="reserve#1"),
    e.CompensationStarted(
        reason="closed", trigger="failure", executions=["reserve#1", "charge#1"], error=CLOSED
    ),
    e.CompensationEnded(undone=["reserve#1"], failed=["charge#1"]),
    e.Compensated(
        at=AT,
        command_id="c1",
        execution="charge#1/undo",
        attempt=1,
        undoes="charge#1",
        output={"refundId": "r1"},
    ),
    e.CompensationFailed(execution="charge#1/undo", undoes="charge#1", error=CLOSED),
    e.DeadlineSet(name="shipBy", due_at=LATER, escalations=[e.Escalation(percent=50, at=AT)]),
    e.DeadlineEscalated(at=AT, command_id="c1", name="shipBy", percent=50),
    e.DeadlineMet(name="shipBy"),
    e.DeadlineMissed(at=AT, command_id="c1", name="shipBy"),
    e.AlertRaised(
        alert_id="ship#1/failed",
        severity="high",
        step="ship",
        error=CLOSED,
        retry_count=3,
        action="compensate",
        message="ship failed for good: closed; manual intervention may be required",
    ),
    e.AlertAcknowledged(**BY, alert_id="ship#1/failed"),
    e.CancelRequested(**BY),
    e.TerminateRequested(**BY),
    e.Paused(**BY),
    e.Resumed(**BY),
    e.StepRetried(**BY, execution="ship#1"),
    e.StepSkipped(**BY, execution="ship#1"),
    e.StepGivenUp(**BY, execution="ship#1"),
    e.StepResolved(
        **BY, execution="ship#1", output={"shipmentId": "s1"}, data={"shipping": {"shipmentId": "s1"}}
    ),
    e.DataChanged(**BY, data={"shippingAddress": {"city": "Bonn"}}),
    e.CompensationGivenUp(**BY, execution="ship#1/undo"),
    moves.Migrated(
        **BY,
        from_version="1",
        to_version="2",
        to_hash="1f",
        positions={"charge#1": "pay"},
        undos={"reserve#1": "free"},
        steps={"charge": "pay"},
    ),
    moves.Forked(
        **BY,
        origin=moves.Origin(instance_id="0-1", version=7),
        delay_ms=90_000,
        input={"orderId": "o2"},
        data={"shippingAddress": {"city": "Bonn"}},
    ),
    e.DefinitionDeployed(
        **BY,
        namespace="default",
        name="order",
        version="1",
        hash="0f",
        source="name: order\n",
        document={"name": "order"},
        findings=[{"code": "unused-step", "severity": "warning"}],
    ),
    other_events.WebhookRegistered(
        **BY,
        namespace="default",
        name="crm",
        url="https://crm.example/tenuto",
        secret_id="k1",
        topics=["workflow.state.changed"],
        definition="order",
        labels={"tier": "premium"},
    ),
    other_events.WebhookDisabled(**BY, why="it answered 410 Gone"),
    other_events.WebhookRemoved(**BY),
    other_events.SignalKept(
        **BY,
        namespace="default",
        correlation_id="o1",
        signal_id="s1",
        name="paid",
        expires_at=LATER,
        payload={"amount": 100},
    ),
    other_events.SignalForwarded(at=AT, command_id="c1", signal_id="s1", instance_id="0-1"),
    other_events.SignalDelivered(at=AT, command_id="c1", signal_id="s1", instance_id="0-1"),
    other_events.SignalReturned(
        at=AT, command_id="c1", signal_id="s1", instance_id="0-1", problem="it has ended"
    ),
    other_events.SignalExpired(at=AT, command_id="c1", signal_id="s1"),
]
"""One of each, with every field set."""


def name(event: e.Event) -> str:
    return type(event).__name__


GOLDEN_EVENTS = {name(event): event for event in EVENTS} | {
    "ScopeOpened.items": e.ScopeOpened(
        execution="prepare.pack#1", step="pack", blocks=[{"sku": "CELLO-1"}, "loose", 7, None, []]
    ),
}
"""By file. A name that stands there twice has more than one shape: a map's blocks are its items, of any kind."""


@pytest.mark.parametrize("file", GOLDEN_EVENTS)
def test_what_was_stored_reads_as_the_same_event_and_is_written_the_same(file: str) -> None:
    event = GOLDEN_EVENTS[file]
    payload = (GOLDEN / f"{file}.json").read_bytes().rstrip(b"\n")
    assert codec.decode(name(event), payload) == event
    assert codec.encode(event) == payload


@pytest.mark.parametrize("event", EVENTS, ids=name)
def test_a_golden_event_has_every_field_set(event: e.Event) -> None:
    envelope = {field.name for field in fields(e.Event)}
    own = [field.name for field in fields(event) if field.name not in envelope]
    assert [one for one in own if getattr(event, one) is None] == []


def test_every_event_has_a_golden_file_and_every_file_its_event() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(GOLDEN_EVENTS)
    assert {name(event) for event in EVENTS} == set(codec.TOPICS)
    assert len(EVENTS) == len(codec.TOPICS)


def test_absent_is_absent_not_null() -> None:
    assert codec.encode(e.StepCompleted(execution="a#1", attempt=1)) == b'{"execution":"a#1","attempt":1}'


def test_a_later_release_may_have_added_fields() -> None:
    """A rolling update reads what its newer neighbour wrote."""
    assert codec.decode("Paused", b'{"actor":"ann","new":1}') == e.Paused(actor="ann")


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("NeverHeardOf", b"{}"),
        ("StepStarted", b"{}"),
        ("StepStarted", b"no json"),
        ("StatusChanged", b'{"to":"odd"}'),
    ],
)
def test_what_cannot_be_read_is_corrupt(topic: str, payload: bytes) -> None:
    with pytest.raises(CorruptHistoryError):
        codec.decode(topic, payload)


# The tables are complete ------------------------------------------------------------------


def test_every_event_has_an_applier() -> None:
    assert set(APPLIERS) == set(codec.TOPICS.values())


def test_every_command_has_a_handler() -> None:
    kinds = {
        kind
        for kind in vars(commands).values()
        if isinstance(kind, type) and issubclass(kind, Command) and kind is not Command
    }
    assert set(HANDLERS) == kinds


def test_a_command_is_only_read_from_what_a_command_begins_with() -> None:
    for event in EVENTS:
        if type(event) not in STIMULI:
            event_with_time = codec.decode(name(event), codec.encode(event))
            event_with_time.at = AT
            with pytest.raises(CorruptHistoryError):
                command_of(event_with_time, State(id="0-1"))
    with pytest.raises(CorruptHistoryError):
        command_of(e.Paused(), State(id="0-1"))


# The catalogue ----------------------------------------------------------------------------


def catalogue() -> dict[str, list[str]]:
    """Event → its fields as the reference lists them."""
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| .+ \|$", CATALOGUE.read_text(), flags=re.MULTILINE)
    return {event: re.findall(r"`([\w]+)`", listed) for event, listed in rows}


def test_every_event_is_in_the_reference_with_all_its_fields() -> None:
    envelope = {field.name for field in fields(e.Event)}
    expected = {
        topic: [field.encode_name for field in fields(kind) if field.name not in envelope]
        for topic, kind in codec.TOPICS.items()
    }
    assert catalogue() == expected


def test_the_reference_explains_the_envelope() -> None:
    text = CATALOGUE.read_text()
    assert [field.encode_name for field in fields(e.Event) if f"`{field.encode_name}`" not in text] == []
