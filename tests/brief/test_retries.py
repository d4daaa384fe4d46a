"""Rows S134–S153: by which policy a step is tried again, and what follows when no attempt helps."""

from __future__ import annotations

import pytest

from domain.calls import StepError
from domain.events import (
    AlertRaised,
    CompensationStarted,
    DataChanged,
    StatusChanged,
    StepCompleted,
    StepFailed,
    StepGivenUp,
    StepResolved,
    StepRetried,
    StepScheduled,
    StepSkipped,
    StepStarted,
)
from tests.brief.played import Play, at, playing
from tests.engine.world import World

POLICIES = """
retryPolicies:
  payment: {maxAttempts: 3, initialInterval: 1s, backoffCoefficient: 2, maxInterval: 10s,
            nonRetryableErrors: [PaymentDeclinedError, FraudDetectedError, InsufficientFundsError, CardExpiredError]}
  inventory: {maxAttempts: 5, initialInterval: 100ms, backoffCoefficient: 1.5, maxInterval: 2s,
              nonRetryableErrors: [ItemDiscontinuedError, RegionNotServicedError]}
  shipping: {maxAttempts: 3, initialInterval: 5s, backoffCoefficient: 2, maxInterval: 30s,
             nonRetryableErrors: [AddressUndeliverableError]}
  notification: {maxAttempts: 10, initialInterval: 10s, backoffCoefficient: 2, maxInterval: 5m}
"""
WAITS: dict[str, list[float]] = {
    "payment": [1, 2],
    "inventory": [0.1, 0.15, 0.225, 0.338],
    "shipping": [5, 10],
    "notification": [10, 20, 40, 80, 160, 300, 300, 300, 300],
}
"""Seconds between the attempts, as the brief's four policies have them (milliseconds are rounded)."""
MOMENT = "2026-03-01T12:00:{}.000000Z"
FINAL = [
    ("payment", "PaymentDeclinedError"),
    ("payment", "FraudDetectedError"),
    ("payment", "InsufficientFundsError"),
    ("payment", "CardExpiredError"),
    ("inventory", "ItemDiscontinuedError"),
    ("inventory", "RegionNotServicedError"),
    ("shipping", "AddressUndeliverableError"),
]


def by(service: str) -> str:
    return f"{POLICIES}\nsteps: [{{id: work, type: task, action: worker:w/work, serviceType: {service}}}]"


def with_policy(policy: str, more: str = "") -> str:
    return f"steps: [{{id: work, type: task, action: worker:w/work, retryPolicy: {policy}{more}}}]"


async def waits(play: Play) -> list[float]:
    """Seconds from each stored failure to the stored start of the attempt after it."""
    failed, started = await play.times(StepFailed), await play.times(StepStarted)
    return [
        round(float(later[:-1]) - float(earlier[:-1]), 3)
        for earlier, later in zip(failed, started[1:], strict=False)
    ]


@pytest.mark.parametrize("service", WAITS)
async def test_the_four_policies_of_the_brief(service: str) -> None:
    """S134–S137, S139–S143: how many attempts, and how long between them."""
    async with playing(by(service)) as play:
        assert await play.use_up("work") == len(WAITS[service]) + 1
        assert await waits(play) == WAITS[service]
        failed = await play.all(StepFailed)
        assert [event.attempt for event in failed] == list(range(1, len(failed) + 1))
        assert [event.retry_at is None for event in failed] == [False] * len(WAITS[service]) + [True]
        assert (await play.get())["status"] == "failed"


async def test_no_attempt_is_handed_out_before_its_time() -> None:
    """S135, S146: until then its row waits in the table."""
    async with playing(by("shipping")) as play:
        await play.fail("work")
        await play.wait("4998ms")
        assert await play.poll("w") == []
        await play.wait("2ms")
        assert [task["attempt"] for task in await play.poll("w")] == [2]
        assert await play.times(StepStarted) == ["0s", "5s"]


@pytest.mark.parametrize(("service", "error"), FINAL)
async def test_errors_that_a_policy_names_are_final(service: str, error: str) -> None:
    """S138–S141: the first of them ends the step."""
    async with playing(by(service)) as play:
        await play.fail("work", error)
        failed = await play.last(StepFailed)
        assert (failed.attempt, failed.error.type, failed.retry_at) == (1, error, None)
        assert (await play.get())["status"] == "failed"


async def test_nothing_is_final_to_a_policy_that_names_no_errors() -> None:
    """S142, S131: what nobody knows is tried again."""
    async with playing(by("notification")) as play:
        await play.fail("work", "PaymentDeclinedError")
        assert await play.offered() == ["work"]
        await play.fail("work", "NeverHeardOfError", retryable=False)
        assert (await play.last(StepFailed)).retry_at is None, "unless who failed says so"


@pytest.mark.parametrize(
    ("initial", "coefficient", "maximum"),
    [(7, 1.0, 100), (10, 3.0, 500), (1_000, 1.7, 3_000), (50, 10.0, 51)],
)
async def test_the_interval_follows_the_formula(initial: int, coefficient: float, maximum: int) -> None:
    """S143: min(initialInterval × coefficient^retryCount, maxInterval); the property test is the domain's."""
    policy = (
        f"{{maxAttempts: 6, initialInterval: {initial}ms, "
        f"backoffCoefficient: {coefficient}, maxInterval: {maximum}ms}}"
    )
    async with playing(with_policy(policy)) as play:
        await play.use_up("work")
        expected = [round(min(initial * coefficient**count, maximum)) / 1000 for count in range(5)]
        assert await waits(play) == expected


async def test_retry_after_is_a_minimum_and_may_exceed_the_maximum() -> None:
    """S137."""
    async with playing(with_policy("{initialInterval: 10s, maxInterval: 20s, maxAttempts: 9}")) as play:
        for asked in ("1s", "1m", "0s"):
            await play.fail("work", "BusyError", retry_after=asked)
        await play.complete("work")
        assert await waits(play) == [10, 60, 20]


async def test_jitter_comes_from_entropy_that_stands_in_the_event() -> None:
    """S143: so deciding again gives the same time again."""
    async with playing(with_policy("{jitter: 0.5, initialInterval: 10s, maxAttempts: 4}")) as play:
        await play.use_up("work")
        seen = await waits(play)
        entropies = [event.entropy for event in await play.all(StepFailed)]
        assert None not in entropies
        assert len(set(entropies)) == 4
        for number, (wait, entropy) in enumerate(zip(seen, entropies, strict=False)):
            assert entropy is not None
            assert wait == round(10_000 * 2**number * (0.5 + entropy)) / 1000


async def test_without_jitter_no_chance_is_on_record() -> None:
    async with playing(with_policy("{}")) as play:
        await play.use_up("work")
        assert {event.entropy for event in await play.all(StepFailed)} == {None}
        assert await waits(play) == [1, 2], "without a policy: three attempts, from a second on"


async def test_the_retry_count_comes_from_the_log_and_survives_a_restart() -> None:
    """S144: a new engine on the same store counts on."""
    world = World(lease_seconds=1_000)
    async with world:
        await world.deploy(f"name: test\n{by('payment')}")
        id = (await world.start("test")).instance_id
        [task] = await world.tasks("w")
        await world.fail(task)
        world.kill()
    async with World(world.faults, world.clock, lease_seconds=1_000) as again:
        for wait in (1, 2):
            await again.pass_time(wait)
            [task] = await again.tasks("w")
            await again.fail(task)
        assert [each.attempt for each in await again.log(id) if isinstance(each, StepFailed)] == [1, 2, 3]
        [alert] = [each for each in await again.log(id) if isinstance(each, AlertRaised)]
        assert (alert.retry_count, (await again.state(id)).status) == (3, "failed")
        await again.check(id)


async def test_a_failed_entry_has_error_time_and_next_retry() -> None:
    """S145, S097: in the history that HTTP gives."""
    async with playing(by("shipping")) as play:
        await play.wait("3s")
        await play.fail("work", "CarrierDownError", "no answer", code="E7")
        (entry,) = (await play.get("/history"))["executions"]
        error = {"type": "CarrierDownError", "message": "no answer", "code": "E7", "retryCount": 1}
        first = entry["attempts"][0]
        assert (first["error"], entry["error"]) == (error, error)
        assert (first["endedAt"], first["nextRetry"]) == (MOMENT.format("03"), MOMENT.format("08"))
        assert (entry["status"], entry["nextRetry"]) == ("retrying", MOMENT.format("08"))


async def test_the_failure_and_the_delayed_retry_are_one_append() -> None:
    """S146: failure, next attempt and its row in the table, in one transaction."""
    async with playing(by("shipping")) as play:
        await play.take("work")
        before = len(play.world.faults.batches)
        await play.fail("work")
        (batch,) = play.world.faults.batches[before:]
        assert [event.topic for event in batch.events] == ["StepFailed", "StepScheduled"]
        (row,) = batch.owe
        failed, scheduled = await play.last(StepFailed), await play.last(StepScheduled)
        assert (row.kind, row.attempt, row.due_at) == ("invoke", 2, at("5s"))
        assert scheduled.due_at == failed.retry_at == row.due_at


async def test_when_that_append_fails_neither_is_stored() -> None:
    """S146: all or nothing."""
    async with playing(by("shipping")) as play:
        task = await play.take("work")
        before = await play.topics()
        play.world.faults.down = True
        answer = await play.http.post(
            "/v1/tasks/fail",
            json={"results": [{"token": task["token"], "error": {"type": "A", "message": "b"}}]},
        )
        assert answer.status_code == 503
        play.world.faults.down = False
        assert await play.topics() == before
        assert await play.offered() == []


# No further attempt ------------------------------------------------------------------

TWO = """
steps:
  - {id: a, type: task, action: worker:a/a, compensateWith: u, next: b}
  - {id: b, type: task, action: worker:b/b, retryPolicy: {maxAttempts: 2, nonRetryableErrors: [FatalError]}%s}
  - {id: u, type: task, action: worker:u/u, input: {why: $.undo.reason}}
"""
PLAN = "  - {id: plan, type: task, action: worker:plan/plan}\n"


async def test_a_final_failure_with_something_to_undo_compensates() -> None:
    """S147."""
    async with playing(TWO % "") as play:
        await play.complete("a")
        await play.fail("b", "FatalError", "no")
        started = await play.last(CompensationStarted)
        assert (started.trigger, started.executions, started.reason) == ("failure", ["a#1"], "no")
        assert await play.serve() == ["u"]
        assert await play.undone() == ["a#1"]
        assert (await play.get())["outcome"] == "compensated"


async def test_a_final_failure_with_a_fallback_goes_on_with_it() -> None:
    """S148, S040."""
    async with playing(TWO % ", fallback: plan" + PLAN) as play:
        await play.complete("a")
        await play.fail("b", "FatalError")
        assert await play.serve() == ["plan"]
        assert (await play.get())["outcome"] == "succeeded"
        assert await play.all(CompensationStarted) == []
        assert [event.execution for event in await play.all(StepCompleted)] == ["a#1", "plan#1"]


async def test_a_final_failure_with_neither_fails_the_workflow() -> None:
    """S149."""
    async with playing(with_policy("{nonRetryableErrors: [FatalError]}")) as play:
        await play.fail("work", "FatalError", "no")
        ended = await play.last(StatusChanged)
        assert (ended.to, ended.outcome, ended.reason) == ("failed", "failed", "no")
        assert ended.error is not None
        assert ended.error.type == "FatalError"
        assert await play.all(CompensationStarted) == []


@pytest.mark.parametrize("on", ["compensate", "pause", "fail"])
async def test_attempts_used_up_raise_the_alert_of_seven_fields(on: str) -> None:
    """S150, S019: the workflow and the instance are those of the stream that it stands in."""
    async with playing(TWO % f", onMaxRetriesExceeded: {on}") as play:
        await play.complete("a")
        await play.use_up("b", "LastError", "no luck")
        alert = (await play.all(AlertRaised))[0]
        view = await play.get()
        assert alert.severity == "high"
        assert (view["definitionName"], view["id"]) == ("test", play.id)
        assert alert.step == "b"
        assert alert.error == StepError(type="LastError", message="no luck")
        assert (alert.retry_count, alert.action) == (2, on)
        assert "manual intervention may be required" in alert.message
        assert view["status"] == {"compensate": "compensating", "pause": "waiting", "fail": "failed"}[on]


async def test_then_compensate() -> None:
    """S151, S041: even where the definition would not."""
    async with playing("onFailure: fail" + TWO % ", onMaxRetriesExceeded: compensate") as play:
        await play.complete("a")
        await play.use_up("b")
        assert await play.serve() == ["u"]
        assert await play.statuses() == ["pending", "running", "compensating", "completed"]
        assert (await play.get())["outcome"] == "compensated"


async def test_or_fail_and_name_what_stands() -> None:
    """S153, S041."""
    async with playing(TWO % ", onMaxRetriesExceeded: fail") as play:
        await play.complete("a")
        await play.use_up("b")
        ended = await play.last(StatusChanged)
        assert (ended.to, ended.outcome, ended.standing) == ("failed", "failed", ["a#1"])
        assert [alert.alert_id for alert in await play.all(AlertRaised)] == [
            "b#1/failed",
            "@instance/standing",
        ]
        assert await play.all(CompensationStarted) == []


# … or pause, for a person to decide (S152, S041) ---------------------------------------


async def paused(play: Play) -> None:
    """b has failed for good and waits for a person."""
    await play.deploy(TWO % ", input: $.a, onMaxRetriesExceeded: pause")
    await play.start()
    await play.complete("a", {"to": "Cologne"})
    await play.use_up("b")
    view = await play.get()
    assert (view["status"], view["waitingFor"]) == ("waiting", ["manual_resolution"])
    assert await play.offered() == []


async def test_a_person_retries() -> None:
    """S152: with fresh attempts."""
    async with playing() as play:
        await paused(play)
        await play.act("retry")
        act = await play.last(StepRetried)
        assert (act.actor, act.reason) == ("ada", "the customer called")
        await play.fail("b")
        await play.complete("b")
        assert [event.attempt for event in await play.all(StepScheduled, "b")] == [1, 2, 3, 4]
        assert (await play.get())["outcome"] == "succeeded"


async def test_a_worker_is_told_which_attempt_is_the_last_after_a_retry_too() -> None:
    async with playing() as play:
        await paused(play)
        await play.act("retry")
        told = []
        for _ in range(2):
            task = await play.take("b")
            told.append((task["attempt"], task["retryPolicy"]["maxAttempts"]))
            await play.fail("b")
        assert told == [(3, 4), (4, 4)]


async def test_a_person_skips() -> None:
    """S152."""
    async with playing() as play:
        await paused(play)
        await play.act("skip")
        act = await play.last(StepSkipped)
        assert (act.actor, act.reason) == ("ada", "the customer called")
        assert (await play.get())["outcome"] == "succeeded"


async def test_a_person_says_the_result() -> None:
    """S152."""
    async with playing() as play:
        await paused(play)
        await play.act("resolve", output={"by": "hand"})
        act = await play.last(StepResolved)
        assert (act.actor, act.reason, act.output) == ("ada", "the customer called", {"by": "hand"})
        view = await play.get()
        assert (view["outcome"], view["data"]["b"]) == ("succeeded", {"by": "hand"})


async def test_a_person_changes_the_data_and_the_retry_sees_it() -> None:
    """S152."""
    async with playing() as play:
        await paused(play)
        await play.act("data", data={"a": {"to": "Bonn"}})
        act = await play.last(DataChanged)
        assert (act.actor, act.reason, act.data) == ("ada", "the customer called", {"a": {"to": "Bonn"}})
        await play.act("retry")
        assert (await play.take("b"))["input"] == {"to": "Bonn"}
        await play.complete("b")


async def test_a_person_compensates() -> None:
    """S152."""
    async with playing() as play:
        await paused(play)
        await play.act("compensate")
        started = await play.last(CompensationStarted)
        assert (started.trigger, started.actor) == ("operator", "ada")
        assert started.reason == "the customer called"
        assert (await play.take("u"))["input"] == {"why": "the customer called"}
        await play.serve()
        assert (await play.get())["outcome"] == "compensated"


async def test_a_person_fails_it() -> None:
    """S152, S041: it has failed for good, and what follows is what the definition says of a failure."""
    async with playing() as play:
        await paused(play)
        await play.act("fail")
        act = await play.last(StepGivenUp)
        assert (act.execution, act.actor, act.reason) == ("b#1", "ada", "the customer called")
        await play.serve()
        ended = await play.last(StatusChanged)
        assert (ended.to, ended.outcome) == ("completed", "compensated")


@pytest.mark.parametrize("act", ["retry", "skip", "resolve", "data", "compensate", "fail"])
async def test_none_of_it_without_a_reason(act: str) -> None:
    """S152, S099."""
    async with playing() as play:
        await paused(play)
        before = await play.topics()
        await play.act(act, 422, reason="", output={}, data={"a": 1})
        assert await play.topics() == before
        await play.act("skip")
