"""Why an instance is not moving: every cause with its code, since when, and what would move it.

    why(State, executions, program, facts) -> [Cause]      the most blocking first

What only the world knows (who polls which queue, who was heard of) comes in as `Facts`; everything else follows from
the state and its history. The codes are public and stay: `docs/reference/why.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from msgspec import Struct, field

from domain.definition.program import Program
from domain.events import ChildOrder, CompensationStarted, Json, Paused, StatusChanged
from domain.executions import StepExecution
from domain.happened import Happened
from domain.history import step_executions
from domain.state import Execution, Queued, Running, Scope, State, Stuck, Waiting
from domain.steps.task import Task
from domain.times import rfc3339

CODES = (
    "unreadable",
    "incident",
    "paused",
    "undo-stuck",
    "stuck",
    "no-worker",
    "lease-silent",
    "signal",
    "person",
    "child",
    "timer",
    "retry",
    "queue-busy",
    "running",
    "scheduled",
    "compensating",
    "ended",
)
"""Every cause there is, the most blocking first."""

SILENCE = timedelta(seconds=90)
"""A queue that nobody has polled for so long has no workers: a poll is held for a minute at most."""


class Queue(Struct, frozen=True, kw_only=True):
    """What is known of one queue: who waits there now, when it was last polled, and how many tasks are ready."""

    waiting: int = 0
    polled_at: datetime | None = None
    ready: int = 0


class Lease(Struct, frozen=True, kw_only=True):
    """What is known of one lease: whether its session is alive, and when its worker last gave a sign of life."""

    alive: bool = True
    last_sign_at: datetime | None = None


class Facts(Struct, frozen=True, kw_only=True):
    """What the engine knows and the log does not. `since`: before that nobody listened. `incident`: the last command
    that could not be decided because of a fault inside, if nothing has happened since."""

    at: datetime
    since: datetime
    queues: Mapping[str, Queue] = {}
    leases: Mapping[str, Lease] = {}
    incident: str | None = None
    incident_at: datetime | None = None


class Move(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What would move it: something to do, with the command to copy; or only time, `at`."""

    what: str
    command: str | None = None
    at: str | None = None


class Cause(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """`code` is one of CODES; `details` are the same facts as the message's, for programs."""

    code: str
    message: str
    since: str | None = None
    execution: str | None = None
    step: str | None = None
    details: dict[str, Json] = field(default_factory=dict)
    moves: list[Move] = field(default_factory=list)


def why(state: State, history: Iterable[Happened], program: Program, facts: Facts) -> list[Cause]:
    """All that is open, and what holds for the whole instance. `history` is its whole log."""
    asked = _Asked(state, list(history), program, facts)
    return sorted(asked.causes(), key=lambda cause: CODES.index(cause.code))


def unreadable(instance_id: str, problem: str) -> Cause:
    """Of an instance whose log cannot be folded: nothing else can be said of it."""
    return Cause(
        code="unreadable",
        message=f"its log cannot be folded: {problem}",
        moves=[Move(what="compare the log with a backup", command=f"tenuto verify {instance_id}")],
    )


class _Asked:
    def __init__(self, state: State, history: list[Happened], program: Program, facts: Facts) -> None:
        self.state = state
        self.history = history
        self.program = program
        self.facts = facts
        self.executions: dict[str, StepExecution] = {one.execution: one for one in step_executions(history)}

    def causes(self) -> Iterator[Cause]:
        state = self.state
        if self.facts.incident is not None:
            yield self._incident(self.facts.incident)
        if state.paused and not state.ended:
            yield self._paused()
        if state.status == "pending":
            yield self._scheduled()
        if state.ended:
            yield self._ended()
        elif state.rollback is not None:
            yield self._compensating()
        for name, open in state.open.items():
            cause = self._of(name, open)
            if cause is not None:
                yield cause

    def _of(self, name: str, open: Execution) -> Cause | None:
        match open:
            case Queued():
                return self._queued(name, open)
            case Running():
                return self._running(name, open)
            case Stuck():
                return self._stuck(name, open)
            case Waiting():
                return self._waiting(name, open)
            case Scope():
                return None  # What runs inside it is listed by itself.

    # The whole instance --------------------------------------------------------------

    def _incident(self, incident: str) -> Cause:
        at = self.facts.incident_at
        return Cause(
            code="incident",
            message=f"the last command for it could not be decided, because of a fault inside Tenuto: {incident}",
            since=None if at is None else rfc3339(at),
            moves=[
                Move(
                    what="read the server's log, and report the fault",
                    command=f"tenuto events {self.state.id}",
                )
            ],
        )

    def _paused(self) -> Cause:
        last = next((one for one in reversed(self.history) if isinstance(one.event, Paused)), None)
        who = (last.actor if last else None) or "somebody"
        reason = (last.reason if last else None) or "no reason given"
        since = None if last is None else rfc3339(last.at)
        return Cause(
            code="paused",
            message=f"paused by {who} since {since}: {reason}; nothing new is handed out, timers run on",
            since=since,
            details={"actor": who, "reason": reason},
            moves=[self._act("let it go on", "resume")],
        )

    def _scheduled(self) -> Cause:
        at = None if self.state.start_at is None else rfc3339(self.state.start_at)
        return Cause(
            code="scheduled",
            message=f"it is to start at {at}",
            since=_time(self.state.created_at),
            details={"startAt": at},
            moves=[Move(what="it starts by itself", at=at)],
        )

    def _ended(self) -> Cause:
        state = self.state
        ends = (one.reason for one in reversed(self.history) if isinstance(one.event, StatusChanged))
        last = next(ends, None)
        standing = f"; not undone: {', '.join(state.standing)}" if state.standing else ""
        return Cause(
            code="ended",
            message=f"it has ended: {state.status}, {state.outcome} ({last}){standing}",
            since=_time(state.ended_at),
            details={"status": state.status, "outcome": state.outcome, "reason": last},
        )

    def _compensating(self) -> Cause:
        rollback = self.state.rollback
        assert rollback is not None
        left, done = rollback.pending, rollback.undone
        began = (one.at for one in reversed(self.history) if isinstance(one.event, CompensationStarted))
        return Cause(
            code="compensating",
            message=f"it is being rolled back ({rollback.reason}): {len(done)} undone, {len(left)} to go",
            since=_time(next(began, None)),
            details={"trigger": rollback.trigger, "reason": rollback.reason, "undone": done, "pending": left},
            moves=[Move(what="see what is still to be undone", command=f"tenuto undo-plan {self.state.id}")],
        )

    # One execution -------------------------------------------------------------------

    def _queued(self, name: str, open: Queued) -> Cause | None:
        if self.state.paused and not self.state.ended:
            return None  # Being paused is why.
        if open.due_at > self.facts.at:
            return self._retry(name, open)
        queue = self.facts.queues.get(open.work.queue, Queue())
        polled = queue.polled_at
        unheard = polled is None or self.facts.at - polled > SILENCE
        if not queue.waiting and unheard:
            return self._no_worker(name, open, queue)
        return Cause(
            code="queue-busy",
            message=f"it is one of {queue.ready} in queue {open.work.queue} that wait for a worker to come free",
            since=rfc3339(open.due_at),
            execution=name,
            step=open.work.step,
            details={"queue": open.work.queue, "ready": queue.ready, "waitingWorkers": queue.waiting},
            moves=[Move(what="a worker takes it; more workers take it sooner")],
        )

    def _no_worker(self, name: str, open: Queued, queue: Queue) -> Cause:
        since = queue.polled_at or max(self.facts.since, open.due_at)
        said = f"since {rfc3339(since)}"
        if queue.polled_at is None:
            said += f" (nor at any time since this server began at {rfc3339(self.facts.since)})"
        http = open.work.queue.startswith("http:")
        start = (
            Move(what=f"name the URL of {open.work.queue} when the server starts")
            if http
            else Move(what="start a worker", command=f"tenuto worker MODULE --queue {open.work.queue}")
        )
        give_up = [
            limit
            for limit in (open.timeouts.schedule_to_start_at, open.timeouts.schedule_to_close_at)
            if limit
        ]
        late = [Move(what="it times out", at=rfc3339(min(give_up)))] if give_up else []
        return Cause(
            code="no-worker",
            message=f"no worker polls queue {open.work.queue} {said}",
            since=rfc3339(since),
            execution=name,
            step=open.work.step,
            details={"queue": open.work.queue, "polledAt": _time(queue.polled_at), "ready": queue.ready},
            moves=[start, *late],
        )

    def _retry(self, name: str, open: Queued) -> Cause:
        step = self.program.steps.get(open.work.step)
        most = step.rules.policy.max_attempts if isinstance(step, Task) else None
        known = self.executions.get(name)
        error = None if known is None else known.error
        after = "" if error is None else f" after {error.type}: {error.message}"
        at = rfc3339(open.due_at)
        of = (
            "" if most is None else f" of {open.attempt + most - open.work.counted - 1}"
        )  # Not all attempts count.
        return Cause(
            code="retry",
            message=f"attempt {open.attempt}{of} begins at {at}{after}",
            since=rfc3339(open.scheduled_at),
            execution=name,
            step=open.work.step,
            details={
                "attempt": open.attempt,
                "maxAttempts": most,
                "failures": open.work.failures,
                "retryAt": at,
                "error": None if error is None else {"type": error.type, "message": error.message},
            },
            moves=[Move(what="it is tried again by itself", at=at)],
        )

    def _running(self, name: str, open: Running) -> Cause:
        if open.work.order is not None:
            return self._child(name, open, open.work.order)
        lease = self.facts.leases.get(open.token, Lease())
        sign = rfc3339(lease.last_sign_at or open.beat_at)
        limits = [at for at in (open.closes_at, open.timeouts.schedule_to_close_at, open.silent_at) if at]
        moves = [Move(what="it times out", at=rfc3339(min(limits)))] if limits else []
        code, said = (
            ("running", "holds")
            if lease.alive
            else ("lease-silent", "does not speak to this server, and holds")
        )
        return Cause(
            code=code,
            message=f"worker {open.worker} {said} the lease of attempt {open.attempt} since"
            f" {rfc3339(open.started_at)}; last sign of life {sign}",
            since=rfc3339(open.started_at),
            execution=name,
            step=open.work.step,
            details={
                "worker": open.worker,
                "attempt": open.attempt,
                "lastSignAt": sign,
                "progress": open.work.progress,
            },
            moves=[Move(what="its worker reports, or its lease is lost and it is handed out again"), *moves],
        )

    def _stuck(self, name: str, open: Stuck) -> Cause:
        undo = open.work.undoes is not None
        named = f" --execution '{name}'"
        acts = [] if open.left_effects else [self._act("try it again", "retry", named)]
        if undo:
            acts.append(self._act("leave the effect, and go on", "give-up", named))
        else:
            acts.append(self._act("go on without it", "skip", named))
        acts.append(self._act("say what it should have answered", "resolve", f"{named} --output '{{}}'"))
        if not undo:
            acts.append(self._act("let it fail: the definition says what follows", "fail", named))
            acts.append(self._act("end the instance, undo everything", "compensate"))
        what = "the undo" if undo else "the step"
        return Cause(
            code="undo-stuck" if undo else "stuck",
            message=f"{what} {name} failed for good and waits for a person: {open.error.type}: {open.error.message}",
            since=self._ended_at(name),
            execution=name,
            step=open.work.step,
            details={
                "attempts": open.attempt,
                "error": {"type": open.error.type, "message": open.error.message},
            },
            moves=acts,
        )

    def _waiting(self, name: str, open: Waiting) -> Cause:
        since = self.executions[name].scheduled_at if name in self.executions else None
        until = _time(open.until)
        timer = [] if until is None else [Move(what="its time is over", at=until)]
        if open.signal is None:
            code = "person" if until is None else "timer"
            said = "it waits for a person" if until is None else f"it waits until {until}"
            return Cause(code=code, message=said, since=since, execution=name, step=open.step, moves=timer)
        key = open.correlation_key or self.state.correlation_id
        keyed = "" if key is None else f" (key {key})"
        ends = "" if until is None else f", until {until}"
        command = f"tenuto signal {self.state.id} {open.signal} --payload '{{}}'"
        return Cause(
            code="signal",
            message=f"it waits for the signal {open.signal}{keyed}{ends}",
            since=since,
            execution=name,
            step=open.step,
            details={"signal": open.signal, "correlationKey": key, "until": until},
            moves=[Move(what="send the signal", command=command), *timer],
        )

    def _child(self, name: str, open: Running, order: ChildOrder) -> Cause:
        """Children are service commands: what keeps the child is asked of the child."""
        wanted = "" if order.do == "run" else " to end" if order.do == "terminate" else " to undo what it did"
        return Cause(
            code="child",
            message=f"it waits for its child {open.token} ({order.definition}){wanted}",
            since=rfc3339(open.started_at),
            execution=name,
            step=open.work.step,
            details={"instanceId": open.token, "definition": order.definition, "do": order.do},
            moves=[Move(what="ask why the child is not moving", command=f"tenuto why {open.token}")],
        )

    def _ended_at(self, name: str) -> str | None:
        known = self.executions.get(name)
        if known is None:
            return None
        return known.attempts[-1].ended_at if known.attempts else known.completed_at

    def _act(self, what: str, act: str, more: str = "") -> Move:
        return Move(what=what, command=f"tenuto {act} {self.state.id}{more} --reason 'why'")


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)
