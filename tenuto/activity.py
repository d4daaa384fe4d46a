"""Activities: the functions a worker runs, and what they can ask and say while they run.

    @activity(queue="warehouse")
    async def pack(item: Item) -> Packed: ...

A definition names it `worker:warehouse/pack`. An activity may be sync (run in a thread) or async. It takes
nothing or one parameter: the step's input as it is (no annotation, dict, Any), or any type pydantic can
validate. The decorated function stays callable, so tests call it directly. How values are converted:
`conversion.py`; who runs it: `worker.py`.
"""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

if TYPE_CHECKING:
    from tenuto.wire import Task

P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_QUEUE = "default"


class Activity(Generic[P, R]):
    """A function with the name and the queue under which definitions know it."""

    def __init__(
        self, function: Callable[P, R], *, name: str | None = None, queue: str | None = None
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.name = name or function.__name__
        self.queue = queue

    @property
    def action(self) -> str:
        """The text a definition's `action` says: `worker:<queue>/<activity>`."""
        return f"worker:{self.queue or DEFAULT_QUEUE}/{self.name}"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<activity {self.action}>"


@overload
def activity(function: Callable[P, R], /) -> Activity[P, R]: ...
@overload
def activity(
    *, name: str | None = None, queue: str | None = None
) -> Callable[[Callable[P, R]], Activity[P, R]]: ...
def activity(function: Any = None, /, *, name: str | None = None, queue: str | None = None) -> Any:
    """Make a function an activity: `@activity`, or `@activity(name="order-confirmation",
    queue="notifications")`.

    Without `name` the function's own; without `queue` the worker's (`Worker(queue=…)`), which by default is
    `default`.
    """
    if function is not None:
        return Activity(function)
    return lambda function: Activity(function, name=name, queue=queue)


class ActivityContext:
    """What a running activity knows about its attempt. `progress` of an earlier attempt is in
    `last_progress`.

    `idempotency_key` is the same for every attempt of a step: pass it on to whatever you call. `max_attempts` is how
    many the step's policy allows, None from a server that does not say.
    """

    def __init__(self, task: Task) -> None:
        self.instance_id = task.get("instanceId", "")
        self.execution = task.get("execution", "")
        self.step = task.get("step", "")
        self.activity = task.get("activity", "")
        self.attempt = task.get("attempt", 1)
        policy = task.get("retryPolicy")
        self.max_attempts = None if policy is None else policy["maxAttempts"]
        self.idempotency_key = task.get("idempotencyKey", "")
        self.deadline_at = task.get("deadlineAt")
        self.last_progress = task.get("progress")
        self.traceparent = task.get("traceparent")
        self.stop_reason: str | None = None
        self._stopped = threading.Event()
        self._beat: str | None = None

    @property
    def cancelled(self) -> bool:
        """Whether to stop: the step was cancelled or timed out, the lease was lost, or the worker ends.

        An async activity is cancelled as any task is; a sync one has to look here, or `wait_cancelled`.
        """
        return self._stopped.is_set()

    def wait_cancelled(self, timeout: float | None = None) -> bool:
        """Block a sync activity until it is to stop, at most `timeout` seconds; says whether it is."""
        return self._stopped.wait(timeout)

    def heartbeat(self, progress: Any = None) -> None:
        """Say that this attempt is alive; `progress` (any JSON) is recorded and handed to the next attempt.

        Cheap: the worker sends the newest with its beat, once a second. A step with a `heartbeat` timeout
        must call this more often than that timeout, which is how a hung activity is told from a slow one.
        """
        self._beat = json.dumps(progress, allow_nan=False)

    def stop(self, reason: str) -> None:
        """Ask the activity to stop. Called by the worker."""
        self.stop_reason = self.stop_reason or reason
        self._stopped.set()

    def take_beat(self) -> str | None:
        """The newest heartbeat's progress as JSON text since the last call. Called by the worker."""
        beat, self._beat = self._beat, None
        return beat

    def give_back_beat(self, beat: str) -> None:
        """Undo `take_beat`, unless there is a newer one. Called by the worker."""
        self._beat = self._beat or beat


running: ContextVar[ActivityContext] = ContextVar("tenuto_activity")


def current() -> ActivityContext:
    """The context of the activity that is running here. Raises RuntimeError outside of one."""
    try:
        return running.get()
    except LookupError:
        raise RuntimeError(
            "no activity is running here: current() and heartbeat() belong inside one"
        ) from None


def heartbeat(progress: Any = None) -> None:
    """`current().heartbeat(progress)`."""
    current().heartbeat(progress)
