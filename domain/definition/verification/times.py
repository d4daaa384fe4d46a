"""Whether timeouts, retries and deadlines can hold, as far as they are written out as durations."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import Final

from domain.definition.document import Path
from domain.definition.fields import Json, RetryPolicy
from domain.definition.model import DeadlineModel
from domain.definition.verification.graph import ENDED, SUCCEEDED, Graph, join_of
from domain.definition.verification.outline import Outline, Place
from domain.definition.verification.report import Report, did_you_mean
from domain.durations import format_duration
from domain.errors import TenutoError
from domain.expressions import paths_of_value
from domain.steps.scope import ScopeModel
from domain.steps.task import PRIORITIES, TaskModel, compile_duration
from domain.steps.wait import WaitModel
from domain.steps.workflow import CallModel

_COUNTED: Final = 1_000
"""Back-off intervals worked out one by one; the rest count as long as the last of them."""


def check_times(outline: Outline, report: Report) -> None:
    policies = outline.model.retry_policies
    for name, policy in policies.items():
        _policy(policy, ("retryPolicies", name), report)
    for place, task in outline.tasks():
        if task.retry_policy is not None:
            _policy(task.retry_policy, (*place.path, "retryPolicy"), report)
        _limits(place, task, outline, report)
        _priority(place, task, report)
    for place, child in outline.children():
        _policy(child.retry_policy, (*place.path, "retryPolicy"), report)
        _attempts(place, child, _literal(child.timeout, (*place.path, "timeout"), report), outline, report)
        _priority(place, child, report)
    for place, wait in outline.waits():
        _literal(wait.for_, (*place.path, "for"), report)
    for name, deadline in outline.model.deadlines.items():
        _escalations(name, deadline, report)
        limit = outline.model.timeout
        if limit is not None and deadline.within > limit:
            ends = f"after {format_duration(deadline.within)}"
            if deadline.after != "start":
                ends = f"{format_duration(deadline.within)} after the end of {deadline.after.step!r}"
            report.add(
                "deadline-after-timeout",
                f"deadline {name!r} ends {ends}, but the workflow times out after {format_duration(limit)}",
                ("deadlines", name, "within"),
            )


def check_paths_in_time(outline: Outline, graph: Graph, report: Report) -> None:
    """What the waits along the ways leave of the workflow's timeout and of its deadlines."""
    weights = {place.step.id: _least_time(place) for place in outline.by_id.values()}
    limit = outline.model.timeout
    if limit is not None and graph.reached & {SUCCEEDED, ENDED}:
        times = _shortest([outline.entry], graph, weights)
        least = min(times[end] for end in (SUCCEEDED, ENDED) if end in times)
        if least >= limit:
            report.add(
                "timeout-too-short",
                f"the waits on the shortest way to an end take {format_duration(least)}, "
                f"but the workflow times out after {format_duration(limit)}",
                ("timeout",),
            )
    for name, deadline in outline.model.deadlines.items():
        _deadline(name, deadline, outline, graph, weights, report)


def _deadline(
    name: str,
    deadline: DeadlineModel,
    outline: Outline,
    graph: Graph,
    weights: dict[str, int],
    report: Report,
) -> None:
    path: Path = ("deadlines", name)
    goal = outline.by_id[deadline.reach.step]
    if deadline.after == "start":
        anchor, begin = "the start", [outline.entry]
    else:
        anchored = outline.by_id[deadline.after.step]
        if anchored.step.id not in graph.reached or anchored.is_beside(goal):
            return
        anchor, begin = f"{anchored.step.id!r}", _after_completion(anchored, graph)
    times = _shortest(begin, graph, weights)
    if goal.step.id not in times:
        if goal.step.id in graph.reached:
            message = f"{goal.step.id!r} cannot come after {anchor}, so deadline {name!r} is never met"
            report.add("deadline-out-of-reach", message, (*path, "reach", "step"))
        return
    least = times[goal.step.id] + weights[goal.step.id]
    if least >= deadline.within and least > 0:
        report.add(
            "deadline-too-short",
            f"the waits between {anchor} and the end of {goal.step.id!r} take {format_duration(least)} at least, "
            f"but deadline {name!r} ends after {format_duration(deadline.within)}",
            (*path, "within"),
        )


def _after_completion(place: Place, graph: Graph) -> list[str]:
    node = join_of(place.step.id) if isinstance(place.step, ScopeModel) else place.step.id
    return [edge.target for edge in graph.after.get(node, ()) if edge.completes]


def _shortest(begin: Iterable[str], graph: Graph, weights: dict[str, int]) -> dict[str, int]:
    """Return the least time, in ms, from entering `begin` to entering every node that it leads to (Dijkstra)."""
    times: dict[str, int] = {}
    pending = [(0, node) for node in begin]
    heapq.heapify(pending)
    while pending:
        time, node = heapq.heappop(pending)
        if node in times:
            continue
        times[node] = time
        for edge in graph.after.get(node, ()):
            if edge.target not in times:
                heapq.heappush(pending, (time + weights.get(node, 0), edge.target))
    return times


def _least_time(place: Place) -> int:
    """How long the step surely takes: a wait for nothing but time does, a signal may come at once."""
    if isinstance(place.step, WaitModel) and place.step.signal is None:
        return literal_ms(place.step.for_) or 0
    return 0


def literal_ms(value: Json) -> int | None:
    """Return the milliseconds of a duration that does not depend on data; None for one that does, or is malformed."""
    if value is None or paths_of_value(value):
        return None
    evaluate = compile_duration(value)
    try:
        return None if evaluate is None else int(evaluate({}))
    except TenutoError:
        return None


def _literal(value: Json, path: Path, report: Report) -> int | None:
    ms = literal_ms(value)
    if ms is None and value is not None and not paths_of_value(value):
        report.add("bad-duration", "this is always the same value, and it is no duration", path)
    return ms


def _limits(place: Place, task: TaskModel, outline: Outline, report: Report) -> None:
    path = place.path
    timeout = _literal(task.timeout, (*path, "timeout"), report)
    start = _literal(task.schedule_to_start, (*path, "scheduleToStart"), report)
    close = _literal(task.schedule_to_close, (*path, "scheduleToClose"), report)
    if timeout is not None:
        if task.heartbeat is not None and task.heartbeat >= timeout:
            report.add(
                "heartbeat-too-long",
                f"`heartbeat` ({format_duration(task.heartbeat)}) is not shorter than "
                f"`timeout` ({format_duration(timeout)})",
                (*path, "heartbeat"),
            )
        _never_fires("alertAfter", task.alert_after, "timeout", timeout, path, report)
    _attempts(place, task, timeout, outline, report, close=close)
    if close is None:
        return
    _never_fires("scheduleToStart", start, "scheduleToClose", close, path, report)
    if timeout is not None and close < timeout:
        report.add(
            "close-before-timeout",
            f"`scheduleToClose` ({format_duration(close)}) is shorter than `timeout` ({format_duration(timeout)})",
            (*path, "scheduleToClose"),
        )
        return
    total = None if timeout is None else time_of_attempts(outline.policy_of(task), timeout)
    if total is not None and total > close:
        attempts = outline.policy_of(task).max_attempts
        report.add(
            "attempts-exceed-close",
            f"{_in_words(attempts)} may take {format_duration(total)}, "
            f"but `scheduleToClose` is {format_duration(close)}",
            (*path, "scheduleToClose"),
        )


def _attempts(
    place: Place,
    task: CallModel,
    timeout: int | None,
    outline: Outline,
    report: Report,
    *,
    close: int | None = None,
) -> None:
    """All attempts within the workflow's timeout; undos are not: it stops counting once the final rollback begins."""
    limit = outline.model.timeout
    if timeout is None or limit is None or task.id in outline.undoes:
        return
    policy = outline.policy_of(task) if isinstance(task, TaskModel) else task.retry_policy
    total = time_of_attempts(policy, timeout)
    if close is not None:
        total = min(total, max(close, timeout))
    if total > limit:
        report.add(
            "attempts-exceed-timeout",
            f"{_in_words(policy.max_attempts)} may take {format_duration(total)}, "
            f"but the workflow times out after {format_duration(limit)}",
            (*place.path, "timeout"),
        )


def _in_words(attempts: int) -> str:
    return "one attempt" if attempts == 1 else f"{attempts} attempts and the intervals between them"


def time_of_attempts(policy: RetryPolicy, timeout: int) -> int:
    """Return how long all attempts may take, in ms, when each runs into its timeout; without jitter."""
    gaps = policy.max_attempts - 1
    total = policy.max_attempts * timeout
    interval = 0
    for failure in range(1, min(gaps, _COUNTED) + 1):
        interval = policy.interval_ms(failure)
        total += interval
    return total + max(0, gaps - _COUNTED) * interval


def _never_fires(field: str, ms: int | None, other: str, limit: int, path: Path, report: Report) -> None:
    if ms is not None and ms >= limit:
        report.add(
            "never-fires",
            f"`{field}` ({format_duration(ms)}) is not shorter than `{other}` ({format_duration(limit)})",
            (*path, field),
        )


def _priority(place: Place, task: CallModel, report: Report) -> None:
    priority = task.priority
    if priority is None or paths_of_value(priority) or isinstance(priority, dict) or priority in PRIORITIES:
        return
    report.add(
        "bad-priority",
        f"there is no priority {priority!r}",
        (*place.path, "priority"),
        fix=did_you_mean(str(priority), PRIORITIES),
    )


def _policy(policy: RetryPolicy, path: Path, report: Report) -> None:
    if policy.initial_interval > policy.max_interval:
        report.add(
            "interval-above-max",
            f"`initialInterval` ({format_duration(policy.initial_interval)}) is longer than "
            f"`maxInterval` ({format_duration(policy.max_interval)}), which always applies",
            (*path, "initialInterval"),
        )


def _escalations(name: str, deadline: DeadlineModel, report: Report) -> None:
    for number, (percent, following) in enumerate(
        zip(deadline.escalate, deadline.escalate[1:], strict=False)
    ):
        if following <= percent:
            report.add(
                "escalate-order",
                f"deadline {name!r} escalates at {following} % after {percent} %",
                ("deadlines", name, "escalate", number + 1),
            )
