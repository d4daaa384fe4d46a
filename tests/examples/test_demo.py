"""The demo, run as a user runs it, and proof that it can fail: a forged ledger is found out."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, cast

import pytest

from examples.order.crash import _check_ledgers
from examples.order.scenes import DemoFailedError, Play
from examples.order.stage import Stage
from examples.order.telling import Teller
from tenuto import Client
from tests.examples.processes import ROOT, environment

DEMO_SECONDS = 180
INSTANCE = "0-01"


def test_the_demo_shows_what_it_promises() -> None:
    """S001, S119: each check of the demo is an assertion; one that does not hold ends it with exit code 1."""
    ran = subprocess.run(
        [sys.executable, "-m", "tenuto", "demo", "--json"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEMO_SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    summary = json.loads(ran.stdout)
    assert summary["ok"] is True
    assert summary["checks"] > 150, (
        "three for each of the fifty orders of scene 7, and those of the other scenes"
    )
    assert 0 < summary["seconds"] < DEMO_SECONDS
    for title in (
        "1. An order that succeeds",
        "6c. … and not answered in time",
        "7. kill -9",
        "All of it held",
    ):
        assert title in ran.stderr


class ForgedStage:
    """Stands in for the demo's services: what they saw, and what they did."""

    def __init__(self) -> None:
        self.called = [row("charge"), row("ship"), row("ship")]
        self.done = [row("charge"), row("ship")]

    def calls(self) -> list[dict[str, str]]:
        return self.called

    def effects(self) -> list[dict[str, str]]:
        return self.done


class ForgedClient:
    """A history: `charge` was done at once, `ship` after its first worker was lost."""

    def __init__(self) -> None:
        self.events = [
            event("StepStarted", "charge"),
            event("StepCompleted", "charge"),
            event("StepStarted", "ship"),
            event("StepFailed", "ship", timeout="leaseLost"),
            event("StepStarted", "ship"),
            event("StepCompleted", "ship"),
        ]

    def events_all(self, instance_id: str) -> list[dict[str, Any]]:
        assert instance_id == INSTANCE
        return self.events


def row(step: str) -> dict[str, str]:
    return {"instance": INSTANCE, "key": f"{INSTANCE}/{step}#1"}


def event(kind: str, step: str, **fields: str) -> dict[str, Any]:
    return {"type": kind, "payload": {"execution": f"{step}#1", **fields}}


class Forged:
    def __init__(self) -> None:
        self.stage, self.client = ForgedStage(), ForgedClient()
        self.play = Play(cast(Stage, self.stage), cast(Client, self.client), Teller(as_json=True))

    def check(self) -> None:
        _check_ledgers(self.play, [INSTANCE])


@pytest.fixture
def forged() -> Forged:
    return Forged()


def test_ledgers_that_agree_with_the_history_pass(forged: Forged) -> None:
    forged.check()
    assert forged.play.checks == 3


def test_an_effect_that_was_had_twice_is_found(forged: Forged) -> None:
    forged.stage.done.append(row("ship"))
    with pytest.raises(DemoFailedError, match="one effect for each step done"):
        forged.check()


def test_an_effect_that_is_missing_is_found(forged: Forged) -> None:
    forged.stage.done.remove(row("charge"))
    with pytest.raises(DemoFailedError, match="one effect for each step done"):
        forged.check()


def test_a_call_that_the_history_knows_nothing_of_is_found(forged: Forged) -> None:
    forged.stage.called.append(row("refund"))
    with pytest.raises(DemoFailedError, match="exactly the keys of its history"):
        forged.check()


def test_a_step_of_the_history_that_no_service_saw_is_found(forged: Forged) -> None:
    forged.stage.called.remove(row("charge"))
    with pytest.raises(DemoFailedError, match="exactly the keys of its history"):
        forged.check()


def test_a_repeated_call_without_a_lost_lease_is_found(forged: Forged) -> None:
    forged.stage.called.append(row("charge"))
    with pytest.raises(DemoFailedError, match="no call without a lost lease"):
        forged.check()


def test_what_does_not_hold_is_named(forged: Forged) -> None:
    forged.play.expect(truth=True, what="the sky is up")
    with pytest.raises(DemoFailedError, match="the sky is down"):
        forged.play.expect(truth=False, what="the sky is down")
