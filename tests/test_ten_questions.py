"""`docs/how-to/ten-questions.md`: every question is asked of a small history, and answered as it must be.

Blocks of SQL on the page are run as they stand, in order, on the published views of a real server.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.api.conftest import serving

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "ten-questions.md"
QUESTION = re.compile(
    r"^## (?P<number>\d+)\. (?P<title>.+?)\n.*?```sql\n(?P<sql>.*?)```", re.MULTILINE | re.DOTALL
)
ORDER = """\
name: order
version: "1"
deadlines: {delivered: {after: start, within: 48h, reach: {step: ship}}}
steps:
  - {id: charge, type: task, action: worker:payments/charge, timeout: 30s, compensateWith: refund, next: approval,
     retryPolicy: {maxAttempts: 3, initialInterval: 1ms, maxInterval: 1ms, jitter: false}}
  - {id: approval, type: wait, signal: approval, for: 24h, output: {approval: $.payload}, onTimeout: late, next: ship}
  - {id: ship, type: task, action: worker:boats/ship, timeout: 30s, retryPolicy: {maxAttempts: 1},
     onMaxRetriesExceeded: pause, compensateWith: recall, next: done}
  - {id: done, type: succeed, result: {shipped: true}}
  - {id: late, type: fail, error: {type: LateError, message: nobody approved}}
  - {id: refund, type: task, action: worker:payments/refund, timeout: 30s}
  - {id: recall, type: task, action: worker:boats/recall, timeout: 30s}
"""


def questions() -> dict[int, str]:
    return {int(found["number"]): found["sql"] for found in QUESTION.finditer(PAGE.read_text())}


def test_there_are_ten_and_each_is_one_select() -> None:
    assert list(questions()) == list(range(1, 11))
    for text in questions().values():
        assert text.count(";") == 1
        assert text.rstrip().endswith(";")
        assert text.lstrip().startswith(("SELECT", "WITH"))
        assert "tenuto_v1." in text


@pytest.fixture
async def told(database: str, schema: str) -> AsyncIterator[dict[str, Any]]:
    """An order that is done, one that waits for approval, one stuck, one undone, one whose charge nobody takes."""
    async with serving(database, schema) as server:
        await server.deploy(ORDER, "order")
        ids: dict[str, Any] = {"schema": f"{schema}_v1"}
        for name in ("done", "approval", "stuck", "undone"):
            ids[name] = (await server.start("order", correlationId=name, labels={"tier": "premium"}))["id"]
            if name == "done":
                await server.work("payments", type="BusyError", message="try again")
            await server.work("payments", {"paymentId": f"p-{name}"})
        for name in ("done", "stuck"):
            signal = {"signalId": "s", "payload": {"by": "ada"}, "actor": "ada"}
            await server.post(f"/v1/instances/{ids[name]}/signals/approval", signal)
            await server.work(
                "boats", **({} if name == "done" else {"type": "StormError", "message": "no boat"})
            )
        await server.post(
            f"/v1/instances/{ids['undone']}/cancel", {"reason": "changed my mind", "actor": "bob"}
        )
        await server.work("payments", {"refunded": True})
        last = await server.http.post(
            "/v1/instances", json={"definition": "order", "correlationId": "queued"}
        )
        ids["queued"] = last.json()["id"]
        await server.wiring.runner.wait_for(int(last.headers["Tenuto-Position"]), 10)
        yield ids


async def test_the_questions_are_answered(told: dict[str, Any], database: str) -> None:
    def ask(number: int) -> list[tuple[Any, ...]]:
        text = questions()[number].replace("tenuto_v1.", f"{told['schema']}.")
        for name in ("done", "stuck", "undone"):
            text = text.replace(f"'<{name}>'", f"'{told[name]}'")
        with psycopg.connect(database, options="-c timezone=UTC") as connection:
            return connection.execute(text.encode()).fetchall()

    assert [row[:2] for row in ask(1)] == [(told["stuck"], "ship")]
    assert "no boat" in ask(1)[0][2]
    assert ask(2) == [("completed", 2), ("waiting", 2), ("running", 1)]
    assert [row[:4] for row in ask(3)] == [(told["approval"], "approval", "approval", "approval")]
    assert [row[:2] for row in ask(4)] == [("payments", 1)]
    assert [row[:5] for row in ask(5)] == [
        (told["stuck"], "ship", "high", "StormError", "pause"),
    ]
    charged = {row[0]: row[1:] for row in ask(6)}
    assert charged["charge"] == (5, 4, 1, 0, 1)
    assert charged["ship"] == (2, 1, 0, 1, 0)
    changes = [row[1:] for row in ask(7)]
    assert [to for _, to, _, _ in changes] == ["running", "waiting", "compensating", "completed"]
    assert changes[2] == ("waiting", "compensating", "changed my mind", "bob")
    known = ask(8)
    assert known[0][1] == "InstanceStarted"
    assert known[-1][1] == "StepFailed"
    assert {row[0] for row in ask(9)} == {told["approval"], told["stuck"], told["queued"]}
    assert [(row[0], row[1]) for row in ask(10)] == [(1, "BusyError"), (2, None)]
