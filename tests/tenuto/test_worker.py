"""The worker against a server of tasks in memory: what it runs, reports, keeps alive, stops, never loses."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import tenuto
from tenuto import Activity, ActivityError, Worker, activity
from tenuto.session import Beat, NoAnswerError, Verdict
from tests.tenuto.fake_server import TaskServer

ROOT = Path(__file__).resolve().parents[2]


class Item(BaseModel):
    sku: str
    count: int = 1


@activity
async def double(value: dict[str, int]) -> dict[str, int]:
    return {"n": value["n"] * 2}


@pytest.fixture
async def server() -> AsyncIterator[TaskServer]:
    async with TaskServer() as server:
        yield server


def worker_for(server: TaskServer, *activities: Activity[..., Any], **more: Any) -> Worker:
    return Worker(server.url, activities=activities, **{"beat_every": 0.02, "grace": 5, **more})


# --- work and its results


async def test_an_output_is_reported_with_the_next_poll(server: TaskServer) -> None:
    await server.give("double", {"n": 21})
    async with worker_for(server, double, name="w1", session="s1"):
        await server.until(lambda: "t1" in server.outputs)
    assert server.outputs["t1"] == {"n": 42}
    first, *_ = (got.body for got in server.got if got.path.endswith("/poll"))
    assert first == {
        "worker": "w1",
        "session": "s1",
        "queues": ["default"],
        "maxTasks": 16,
        "wait": "20000ms",
    }
    reporting = [got for got in server.got if "results" in got.body]
    assert [(got.path, got.body["wait"]) for got in reporting] == [("/v1/tasks/poll", "0ms")]


async def test_a_worker_serves_the_queues_of_its_activities(server: TaskServer) -> None:
    @activity(name="order-confirmation", queue="notifications")
    def confirm(_: dict[str, Any]) -> None: ...

    assert confirm.action == "worker:notifications/order-confirmation"
    worker = worker_for(server, double, confirm, queue="warehouse")
    assert worker.queues == ["notifications", "warehouse"]
    await server.give("order-confirmation", {})
    async with worker:
        await server.until(lambda: "t1" in server.outputs)
    assert server.outputs["t1"] is None


async def test_the_environment_names_the_server(server: TaskServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENUTO_SERVER", server.url)
    await server.give("double", {"n": 2})
    async with tenuto.Worker(activities=[double]):
        await server.until(lambda: "t1" in server.outputs)


async def test_sync_activities_run_beside_each_other_in_threads(server: TaskServer) -> None:
    together = threading.Barrier(3, timeout=10)

    @activity
    def meet(_: dict[str, Any]) -> str:
        together.wait()
        return tenuto.current().idempotency_key

    for number in range(3):
        await server.give("meet", {}, token=f"t{number}")
    async with worker_for(server, meet):
        await server.until(lambda: len(server.outputs) == 3)
    assert set(server.outputs.values()) == {"0-i/meet#1"}


async def test_no_more_than_its_slots_are_asked_for(server: TaskServer) -> None:
    running, most, gate = 0, 0, asyncio.Event()

    @activity
    async def busy(_: dict[str, Any]) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 2:
            gate.set()
        await gate.wait()
        running -= 1

    for number in range(7):
        await server.give("busy", {}, token=f"t{number}")
    async with worker_for(server, busy, concurrency=2):
        await server.until(lambda: len(server.outputs) == 7)
    assert most == 2
    assert all(1 <= got.body["maxTasks"] <= 2 for got in server.got if got.path.endswith("/poll"))


async def test_failures_are_mapped_to_types(server: TaskServer) -> None:
    @activity
    async def decline(_: dict[str, Any]) -> None:
        raise ActivityError(
            "PaymentDeclinedError", "no funds", retryable=False, details={"code": 51}, retry_after=5
        )

    @activity
    def break_down(_: dict[str, Any]) -> None:
        raise KeyError("sku")

    await server.give("decline", {}, token="a")
    await server.give("break_down", {}, token="b")
    await server.give("unheard_of", {}, token="c")
    async with worker_for(server, decline, break_down):
        await server.until(lambda: len(server.errors) == 3)
    assert server.errors["a"] == {
        "type": "PaymentDeclinedError",
        "message": "no funds",
        "retryable": False,
        "retryAfter": "5000ms",
        "details": {"code": 51},
    }
    assert server.errors["b"] == {"type": "KeyError", "message": "'sku'", "retryable": True}
    assert (server.errors["c"]["type"], server.errors["c"]["retryable"]) == ("UnknownActivityError", True)


async def test_models_are_validated_and_bad_input_is_not_retried(server: TaskServer) -> None:
    @activity
    async def pack(item: Item) -> Item:
        return Item(sku=item.sku.upper(), count=item.count + 1)

    await server.give("pack", {"sku": "a"}, token="good")
    await server.give("pack", {"count": 2}, token="bad")
    async with worker_for(server, pack):
        await server.until(lambda: len(server.accepted) == 2)
    assert server.outputs["good"] == {"sku": "A", "count": 2}
    assert server.errors["bad"]["type"] == "ActivityInputError"
    assert not server.errors["bad"]["retryable"]
    assert "sku: Field required" in server.errors["bad"]["message"]


async def test_an_output_that_is_no_json_fails_for_good(server: TaskServer) -> None:
    @activity
    async def measure(_: dict[str, Any]) -> float:
        return float("nan")

    await server.give("measure", {})
    async with worker_for(server, measure):
        await server.until(lambda: "t1" in server.errors)
    assert (server.errors["t1"]["type"], server.errors["t1"]["retryable"]) == ("ActivityOutputError", False)


async def test_an_output_the_server_refuses_fails_its_step(server: TaskServer) -> None:
    server.refuse = lambda result: "too large" if "output" in result else None
    await server.give("double", {"n": 1})
    async with worker_for(server, double):
        await server.until(lambda: "t1" in server.errors)
    assert server.errors["t1"]["type"] == "ActivityOutputError"
    assert "too large" in server.errors["t1"]["message"]


async def test_a_batch_refused_whole_is_sent_one_by_one(server: TaskServer) -> None:
    server.refuse_batches_with = 413
    gate = asyncio.Event()

    @activity
    async def gated(_: dict[str, Any]) -> int:
        await gate.wait()
        return 1

    for number in range(3):
        await server.give("gated", {}, token=f"t{number}")
    async with worker_for(server, gated):
        await server.until(lambda: not server.waiting)
        gate.set()
        await server.until(lambda: len(server.outputs) == 3)
    assert server.errors == {}


# --- signs of life


async def test_work_in_hand_is_kept_alive_and_progress_is_carried(server: TaskServer) -> None:
    gate = asyncio.Event()

    @activity
    async def long(_: dict[str, Any]) -> Any:
        tenuto.heartbeat({"done": 3})
        await gate.wait()
        return tenuto.current().last_progress

    await server.give("long", {}, progress={"done": 1})
    async with worker_for(server, long, session="s1"):
        await server.until(lambda: len(server.beats) >= 3)
        gate.set()
        await server.until(lambda: "t1" in server.outputs)
    assert server.outputs["t1"] == {"done": 1}
    assert server.progress == [("t1", {"done": 3})]
    assert all(body["session"] == "s1" for body in server.beats)
    assert server.beats[1]["beats"] == [{"token": "t1"}]


async def test_an_activity_knows_how_many_attempts_its_step_has(server: TaskServer) -> None:
    @activity
    async def asks(_: dict[str, Any]) -> Any:
        return [tenuto.current().attempt, tenuto.current().max_attempts]

    policy = {"maxAttempts": 7, "initialIntervalMs": 1, "backoffCoefficient": 2.0, "maxIntervalMs": 9}
    await server.give("asks", {}, attempt=2, retryPolicy={**policy, "nonRetryableErrors": []})
    await server.give("asks", {}, token="t2")
    async with worker_for(server, asks):
        await server.until(lambda: len(server.outputs) == 2)
    assert server.outputs == {"t1": [2, 7], "t2": [1, None]}


async def test_a_step_with_a_heartbeat_timeout_is_alive_only_by_its_own_word(server: TaskServer) -> None:
    gate, speak = asyncio.Event(), asyncio.Event()

    @activity
    async def silent(_: dict[str, Any]) -> None:
        await speak.wait()
        tenuto.heartbeat()
        await gate.wait()

    await server.give("silent", {}, heartbeatMs=1000)
    async with worker_for(server, silent):
        await server.until(lambda: len(server.beats) >= 2)
        assert all(
            body["beats"] == [] for body in server.beats
        )  # the session lives, the attempt says nothing
        speak.set()
        await server.until(lambda: any(body["beats"] == [{"token": "t1"}] for body in server.beats))
        gate.set()


async def test_progress_that_did_not_arrive_is_sent_again(
    server: TaskServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = asyncio.Event()

    @activity
    async def long(_: dict[str, Any]) -> None:
        tenuto.heartbeat("half way")
        await gate.wait()

    await server.give("long", {})
    worker = worker_for(server, long)
    beat, lost = worker._session.beat, 0

    async def lossy(beats: Sequence[Beat]) -> list[Verdict]:
        nonlocal lost
        if lost < 2:
            lost += 1
            raise NoAnswerError("the line is dead")
        return await beat(beats)

    monkeypatch.setattr(worker._session, "beat", lossy)
    async with worker:
        await server.until(lambda: bool(server.progress))
        gate.set()
        await server.until(lambda: "t1" in server.outputs)
    assert lost == 2
    assert server.progress == [("t1", "half way")]


async def test_progress_must_be_json() -> None:
    context = tenuto.ActivityContext({"token": "t1"})
    with pytest.raises(ValueError, match="not JSON compliant"):
        context.heartbeat(float("inf"))


# --- being stopped


async def test_a_cancelled_step_cancels_its_async_activity(server: TaskServer) -> None:
    cleaned = asyncio.Event()

    @activity
    async def endless(_: dict[str, Any]) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    server.say_to["t1"] = "cancelled"
    await server.give("endless", {})
    async with worker_for(server, endless):
        await server.until(lambda: "t1" in server.errors)
    assert cleaned.is_set()
    assert server.errors["t1"]["type"] == "CancelledError"
    assert not server.errors["t1"]["retryable"]


async def test_a_success_after_a_cancel_is_still_reported_so_that_it_can_be_undone(
    server: TaskServer,
) -> None:
    @activity
    def stubborn(_: dict[str, Any]) -> str | None:
        tenuto.current().wait_cancelled(10)
        return tenuto.current().stop_reason

    server.say_to["t1"] = "cancelled"
    await server.give("stubborn", {})
    async with worker_for(server, stubborn):
        await server.until(lambda: "t1" in server.outputs)
    assert server.outputs["t1"] == "the step was cancelled"


async def test_a_lost_lease_stops_the_activity_and_drops_its_result(server: TaskServer) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    @activity
    def slow(_: dict[str, Any]) -> str:
        tenuto.current().wait_cancelled(10)
        loop.call_soon_threadsafe(ended.set)
        return "worthless"

    server.say_to["t1"] = "lost"
    await server.give("slow", {}, token="t1")
    async with worker_for(server, slow, double):
        await ended.wait()
        await server.give("double", {"n": 1}, token="t2")
        await server.until(lambda: "t2" in server.outputs)
    assert server.accepted == ["t2"]


async def test_a_deadline_ends_an_async_activity_as_a_timeout(server: TaskServer) -> None:
    @activity
    async def endless(_: dict[str, Any]) -> None:
        await asyncio.Event().wait()

    await server.give("endless", {}, deadlineAt=(datetime.now(UTC) - timedelta(seconds=2)).isoformat())
    async with worker_for(server, endless):
        await server.until(lambda: "t1" in server.errors)
    assert server.errors["t1"] == {
        "type": "TimeoutError",
        "message": "endless: the deadline has passed",
        "retryable": True,
    }
    assert server.accepted == ["t1"]


async def test_a_sync_activity_past_its_deadline_fails_at_once_and_its_late_success_is_told(
    server: TaskServer,
) -> None:
    gate = threading.Event()

    @activity
    def slow(_: dict[str, Any]) -> str:
        gate.wait(10)
        return "late"

    await server.give("slow", {}, deadlineAt=(datetime.now(UTC) - timedelta(seconds=2)).isoformat())
    async with worker_for(server, slow):
        await server.until(lambda: "t1" in server.errors)
        assert server.errors["t1"]["type"] == "TimeoutError"
        gate.set()
        await server.until(lambda: server.outputs.get("t1") == "late")


# --- ending and coming back


async def test_a_stop_finishes_what_is_in_hand_and_asks_for_nothing_more(server: TaskServer) -> None:
    gate, began = asyncio.Event(), asyncio.Event()

    @activity
    async def gated(_: dict[str, Any]) -> str:
        began.set()
        await gate.wait()
        return "done"

    await server.give("gated", {})
    worker = worker_for(server, gated)
    running = asyncio.create_task(worker.run())
    await began.wait()
    worker.stop()
    polls = server.paths().count("poll")
    await server.give("gated", {}, token="t2")
    gate.set()
    await running
    assert server.outputs == {"t1": "done"}
    assert server.paths().count("poll") <= polls + 1  # one may have been on its way when the stop came
    assert "complete" in server.paths()


async def test_the_grace_bounds_a_stop_and_what_is_given_up_is_not_reported(server: TaskServer) -> None:
    began, cleaned = asyncio.Event(), asyncio.Event()

    @activity
    async def endless(_: dict[str, Any]) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    await server.give("endless", {})
    worker = worker_for(server, endless, grace="50ms")
    running = asyncio.create_task(worker.run())
    await began.wait()
    worker.stop()
    async with asyncio.timeout(5):
        await running
        await cleaned.wait()
    assert (
        server.accepted == []
    )  # its lease is lost with the session: tried elsewhere, not counted as an attempt


async def test_a_result_survives_a_server_that_is_gone_and_is_delivered_once(server: TaskServer) -> None:
    gate, began = asyncio.Event(), asyncio.Event()

    @activity
    async def gated(_: dict[str, Any]) -> str:
        began.set()
        await gate.wait()
        return "kept"

    await server.give("gated", {})
    async with worker_for(server, gated) as worker:
        await began.wait()
        await server.stop()
        gate.set()
        await worker._until(lambda: not worker._jobs)
        await server.start()
        await server.until(lambda: "t1" in server.outputs)
        await server.give("gated", {}, token="t2")
        await server.until(lambda: "t2" in server.outputs)
    assert server.accepted == ["t1", "t2"]
    sent = [result["token"] for got in server.got for result in got.body.get("results", [])]
    assert sent == ["t1", "t2"]


async def test_a_result_whose_answer_was_lost_is_sent_again(server: TaskServer) -> None:
    server.drop_next_answer_to_results = True
    await server.give("double", {"n": 2})
    async with worker_for(server, double):
        await server.until(lambda: sum("results" in got.body for got in server.got) >= 2)
    sent = [result["token"] for got in server.got for result in got.body.get("results", [])]
    assert sent[:2] == ["t1", "t1"]
    assert server.accepted == ["t1"]


async def test_a_result_does_not_wait_for_the_answer_about_another(server: TaskServer) -> None:
    committed = server.answer_when["t1"] = asyncio.Event()
    await server.give("double", {"n": 1})
    async with worker_for(server, double):
        await server.until(lambda: "t1" in server.outputs)
        await server.give("double", {"n": 2}, token="t2")
        await server.until(lambda: "t2" in server.outputs)
        committed.set()
    sent = [result["token"] for got in server.got for result in got.body.get("results", [])]
    assert sent == ["t1", "t2"]


async def test_a_worker_waits_for_a_server_that_is_not_there_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    server = TaskServer()
    await server.start()
    await server.stop()  # the port is known, nothing listens
    worker = worker_for(server, double)
    back_off, failed = worker._back_off, asyncio.Event()

    async def told(what: str, failures: int, error: Exception) -> None:
        failed.set()
        await back_off(what, failures, error)

    monkeypatch.setattr(worker, "_back_off", told)
    async with worker:
        await failed.wait()
        await server.give("double", {"n": 1})
        await server.start()
        await server.until(lambda: "t1" in server.outputs)
    await server.stop()


async def test_sigterm_drains_a_worker_process(server: TaskServer, tmp_path: Path) -> None:
    (tmp_path / "slow_shop.py").write_text(
        "import pathlib, time\n"
        "from tenuto import activity, current\n"
        "@activity\n"
        "def pack(item: dict):\n"
        "    pathlib.Path(item['began']).touch()\n"
        "    while not pathlib.Path(item['go']).exists():\n"
        "        time.sleep(0.01)\n"
        "    return {'packed': True}\n",
        encoding="utf-8",
    )
    began, go = tmp_path / "began", tmp_path / "go"
    await server.give("pack", {"began": str(began), "go": str(go)})
    program = "from tenuto.cli import main; main()"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, "worker", "slow_shop", "--server", server.url, "--json",
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(20):
        while not began.exists():  # noqa: ASYNC110 - another process says so
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        go.touch()
        stdout, stderr = await process.communicate()
    assert process.returncode == 0, stderr.decode()
    assert server.outputs == {"t1": {"packed": True}}
    assert b'"queues"' in stdout
    assert b"Traceback" not in stderr


# --- what cannot work is refused at once


def test_a_worker_refuses_what_could_never_run() -> None:
    @activity
    def two(a: dict[str, Any], b: dict[str, Any]) -> None: ...

    @activity(name="double")
    def other(_: dict[str, Any]) -> None: ...

    with pytest.raises(ValueError, match="at least one activity"):
        Worker(activities=[])
    with pytest.raises(TypeError, match="none or one"):
        Worker(activities=[two])
    with pytest.raises(ValueError, match="two activities are named 'double'"):
        Worker(activities=[double, other])
    with pytest.raises(ValueError, match="concurrency"):
        Worker(activities=[double], concurrency=0)
    with pytest.raises(ValueError, match="no duration"):
        Worker(activities=[double], poll_wait="soon")
