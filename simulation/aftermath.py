"""What must hold when a simulated world has come to rest: nothing lost, nobody lied to, no effect forgotten.

Compares four accounts of the same story: the log, what clients and workers were told, what the services truly did, and
what the engines still remember.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from domain import events as e
from domain.again import decided_again
from domain.codec import topic_of
from domain.definition.program import Program
from domain.happened import timed
from domain.history import step_executions
from domain.owed import owed
from domain.paths import UNDO
from engine.cache import Cache, fold
from engine.messages import Answer
from engine.ports import Loaded
from engine.store.memory import MemoryStore
from simulation.clients import Asked, Read
from simulation.follower import Follower
from simulation.instance import Instance
from simulation.invariants import Watch
from simulation.kinship import check_kin, succeeded_late
from simulation.remote_worker import Report
from simulation.services import Services
from simulation.virtual_time import ViolationError

ENDING = ("cancel", "undo", "terminate")
"""Acts after which an instance is rolled back, or has ended."""

_encode = msgspec.json.Encoder().encode


def check_ends(watch: Watch, services: Services) -> None:
    """I7, I10: every instance has ended, and owes nothing; what was done is undone or known to stand."""
    for instance in watch.instances.values():
        state = instance.state
        if not state.ended:
            instance.fail("I7", f"it has not ended: {state.status}, open {sorted(state.open)}")
        watch.check_owed(instance)
        if owed(state):
            instance.fail("I7", f"it has ended and owes {sorted(owed(state))}")
        if state.open:
            instance.fail("I7", f"it has ended and has {sorted(state.open)} open")
        _check_effects(instance, services)
        _check_signals(instance)
    check_kin(watch.instances)


def _check_effects(instance: Instance, services: Services) -> None:
    state = instance.state
    children = {execution for execution, _ in instance.orders}  # Their effects are those of the child.
    for execution in instance.succeeded:
        how = instance.undone.get(execution)
        if how is not None and how != "given up":
            continue
        if execution not in state.undo:
            instance.fail("I10", f"{execution} succeeded, was not undone, and is forgotten")
        if execution in instance.given_up_after_the_end:
            continue  # A person gave up on what was undone then.
        if state.outcome in ("compensated", "cancelled") and not instance.partial:
            instance.fail("I10", f"it ended {state.outcome}, and {execution} stands")
        if (
            state.status == "failed"
            and execution not in state.standing
            and not succeeded_late(instance, execution)
        ):
            instance.fail("I10", f"it ended {state.outcome}, and does not say that {execution} stands")
    for execution, how in instance.undone.items():
        key = f"{state.id}/{execution}{UNDO}"
        if how == "compensated" and key not in services.effects and execution not in children:
            instance.fail("I10", f"{execution} counts as undone, and nothing undid it")
    for (execution, attempt), what in instance.results.items():
        done = f"{state.id}/{execution}" in services.effects or execution in children
        if what == "completed" and not done:
            instance.fail("I10", f"{execution} attempt {attempt} completed, and nothing happened")


def _check_signals(instance: Instance) -> None:
    waiting = {signal.signal_id for signal in instance.state.buffer}
    for id, by in instance.signals.items():
        if not by and id not in waiting:
            instance.fail("I9", f"signal {id} was taken and is lost")


def check_kept(watch: Watch, asked: list[Asked]) -> None:
    """I9: a signal that was kept reaches one instance at most, the one that the log names; none is lost."""
    holders: dict[str, list[str]] = {}
    for id, instance in watch.instances.items():
        for signal_id in instance.signals:
            holders.setdefault(signal_id, []).append(id)
    known = {signal_id for state in watch.kept.values() for signal_id in state.known}
    for stream, state in watch.kept.items():
        for signal_id in state.known:
            held = holders.get(signal_id, [])
            target = state.waiting[signal_id].target if signal_id in state.waiting else None
            taken = state.ended.get(signal_id)
            allowed = [[taken]] if taken else [[], [target]] if target else [[]]
            if held not in allowed:
                raise ViolationError(f"I9: {signal_id} of {stream} is with {held}, and may be with {allowed}")
    for one in asked:
        signal_id = (one.key or "").partition("/")[2]
        if one.what == "keep" and one.told == "granted" and signal_id not in known | holders.keys():
            raise ViolationError(f"I9: {one.id} was granted and signal {one.key} is lost")


def check_clients(watch: Watch, asked: list[Asked]) -> None:
    """I1, I11, I16: what was granted is in the log, what was refused is not; one key is one instance, one signal."""
    granted = _granted(watch, {one.id for one in asked if one.doubled})
    bodies: dict[str, str] = {}
    for one in asked:
        found = granted.get(one.id)
        if one.told in ("refused", "not now") and found is not None and not one.doubled:
            raise ViolationError(
                f"I16: {one.what} {one.id} was refused ({one.error}) and is in the log: {found}"
            )
        if one.answer is not None:
            _check_answer(watch, one, one.answer, in_log=found is not None)
            if one.key is not None and bodies.setdefault(one.key, one.body) != one.body:
                raise ViolationError(f"I11: key {one.key} was taken with two bodies")


def _check_answer(watch: Watch, one: Asked, answer: Answer, *, in_log: bool) -> None:
    said = f"{one.what} {one.id} was granted"
    instance = watch.instances.get(answer.instance_id)
    if instance is None or (answer.events and not in_log) or answer.version > instance.state.version:
        raise ViolationError(f"I1: {said} and is not in the log")
    if one.what in ENDING and answer.status not in ("compensating", "completed", "failed"):
        raise ViolationError(f"I16: {said}, and it is {answer.status}")
    assert one.key is not None or one.what not in ("start", "signal")
    if one.what == "start" and watch.starts.get(one.key or "") != answer.instance_id:
        raise ViolationError(f"I11: {said} with an instance that key {one.key} did not start")
    if one.what == "signal" and (one.key or "").partition("/")[2] not in instance.signals:
        raise ViolationError(f"I9: {said} and signal {one.key} is lost")


def check_reads(reads: list[Read]) -> None:
    """I16: nobody reads less than is known to be in the log."""
    for read in reads:
        if read.version < read.least:
            raise ViolationError(
                f"I16: {read.instance} was read at version {read.version}, after {read.least}"
            )


def _granted(watch: Watch, doubled: set[str]) -> dict[str, str]:
    """What stands in the log, by the id of the request that it answers; twice, if it came twice with time between."""
    found: dict[str, str] = {}
    for instance in watch.instances.values():
        for event in instance.events:
            if event.request_id is not None:
                what = f"{topic_of(event)} of {instance.state.id}"
                if event.request_id in found and event.request_id not in doubled:
                    raise ViolationError(f"I16: {event.request_id} is in the log twice: {what}")
                found[event.request_id] = what
    return found


def check_workers(watch: Watch, reports: list[Report], services: Services) -> None:
    """I4, I5, I6: one dispatch for an attempt; what was said to be accepted is, from its holder."""
    for (key, attempt), times in services.dispatches.items():
        if times > 1:
            raise ViolationError(f"I4: attempt {attempt} of {key} was handed to {times} workers")
    for report in reports:
        _, number_of_attempt, _, id, execution = report.token.split("|")
        instance = watch.instances[id]
        number = (execution, int(number_of_attempt))
        said = [status.status for status in report.statuses]
        if said.count("accepted") > 1:
            instance.fail("I5", f"{number} was accepted twice")
        if "accepted" not in said:
            if report.succeeded and ("ignored" in said or "duplicate" in said):
                _check_heard(instance, number)
            continue
        if instance.started.get(number) != report.token:
            instance.fail("I6", f"{number} was accepted from {report.token}, who did not hold it")
        expected = ("completed", "compensated") if report.succeeded else ("failed",)
        if instance.results.get(number) not in expected:
            instance.fail("I1", f"{number} was accepted, and is {instance.results.get(number)} in the log")


def _check_heard(instance: Instance, number: tuple[str, int]) -> None:
    """A success that came too late to count is on record all the same."""
    execution, attempt = number
    recorded = instance.results.get(number) in ("completed", "compensated") or any(
        isinstance(event, e.ResultIgnored)
        and (event.execution, event.attempt) == number
        and event.error is None
        for event in instance.events
    )
    resolved = any(isinstance(one, e.StepResolved) and one.execution == execution for one in instance.events)
    if not recorded and not resolved:
        instance.fail("I10", f"{execution} attempt {attempt} succeeded late, and nothing says so")


def check_replay(watch: Watch, memory: MemoryStore, programs: Mapping[str, Mapping[str, Program]]) -> None:
    """I3: from snapshots too; and deciding the stimuli again gives the whole log again."""
    for id, instance in watch.instances.items():
        state, recorded = instance.state, memory._streams[id]
        if _encode(fold(id, Loaded(None, recorded))) != _encode(state):
            instance.fail("I3", "folding the log twice gives two states")
        for (stream, _), snapshot in memory._snapshots.items():
            if stream == id:
                after = Loaded(snapshot, recorded[snapshot.version :])
                if _encode(fold(id, after)) != _encode(state):
                    instance.fail("I3", f"the snapshot of version {snapshot.version} leads elsewhere")
        _check_stimuli(instance, programs[state.definition])


def _check_stimuli(instance: Instance, programs: Mapping[str, Program]) -> None:
    told = decided_again(instance.events, instance.state.id, programs)
    stored = instance.events
    if told != stored:
        first = next((n for n, (a, b) in enumerate(zip(told, stored, strict=False)) if a != b), len(told))
        instance.fail(
            "I3", f"decided again, its history differs from version {first + 1} on: {stored[first:][:1]}"
        )


def check_views(watch: Watch, follower: Follower) -> None:
    """I12: what was followed in pieces is what one reading gives; and it says what the state says."""
    for id, instance in watch.instances.items():
        read = step_executions(timed(enumerate(instance.events, 1)))
        if list(follower.rows[id].values()) != read:
            instance.fail(
                "I12", "its step executions, followed in pieces, differ from one reading of the log"
            )
        open = {one.execution for one in read if one.completed_at is None}
        if open != set(instance.state.open):
            instance.fail(
                "I12", f"open are {sorted(instance.state.open)}, its step executions say {sorted(open)}"
            )


def check_cache(watch: Watch, cache: Cache) -> None:
    """What an engine remembers of an instance is what the log says, or it is older, and the version check will tell."""
    for id, entry in cache._entries.items():
        if id not in watch.instances:
            continue  # It was never stored: version 0 is in the cache and in the log.
        state = watch.instances[id].state
        if entry.committed == state.version and _encode(entry.state) != _encode(state):
            watch.instances[id].fail("I3", "an engine remembers another state of this version")
