"""One task in hand: an activity running, its deadline, its stop, and the result it leads to.

Knows nothing of the network: results go to `report`. An async activity is cancelled as a task; a sync one
runs in a daemon thread of its own (so that a hung one cannot keep the process from ending) and is asked
through its context.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import json
import logging
import threading
from collections.abc import Callable
from typing import Any

from tenuto.activity import Activity, ActivityContext, running
from tenuto.conversion import Adapt, error_text, output_text
from tenuto.errors import ActivityError
from tenuto.session import Beat, Result
from tenuto.wire import Task

log = logging.getLogger("tenuto.worker")

CANCELLED = "the step was cancelled"
LOST = "the lease was lost"
TIMED_OUT = "the deadline has passed"
WORKER_STOPS = "the worker stops"


class Job:
    """Runs one attempt and reports at most one result that counts.

    After a cancel or a timeout a success is still reported, late: its effect happened, and the server's rule
    on late results decides about its undo. After a lost lease, or when the worker gives up at its end,
    nothing is reported.
    """

    def __init__(
        self, task: Task, activity: Activity[..., Any], adapt: Adapt, *, report: Callable[[Result], None]
    ) -> None:
        self.context = ActivityContext(task)
        self._token = task["token"]
        self._must_beat = task.get("heartbeatMs") is not None
        self._activity = activity
        self._report = report
        self._work: asyncio.Future[Any] | None = None
        self._is_async = inspect.iscoroutinefunction(activity.function)
        try:
            self._arguments = adapt(task.get("input"))
        except Exception as error:  # noqa: BLE001 - a user's validator may raise anything; it fails the attempt
            self._fail(error)
        else:
            self._work = self._begin()

    async def run(self, remaining_s: float | None) -> None:
        """Until the activity has ended. `remaining_s` is the time to its deadline, None for no limit."""
        if self._work is None:
            return
        done, _ = await asyncio.wait({self._work}, timeout=remaining_s)
        if not done:
            self._fail(ActivityError("TimeoutError", f"{self._activity.name}: {TIMED_OUT}"))
            self.stop(TIMED_OUT)
            await asyncio.wait({self._work})  # its slot is taken until it really ends
        self._conclude(self._work)

    def stop(self, reason: str) -> None:
        """Ask the activity to end; the first reason stays."""
        self.context.stop(reason)
        if self._is_async and self._work is not None:
            self._work.cancel()

    def beat(self) -> Beat | None:
        """The sign of life to send, or None.

        A step with a `heartbeat` timeout is only said to be alive when its activity says so, else that
        timeout could never tell a hung activity from a slow one. All others are named with every beat, to
        hear of a cancel.
        """
        if self.context.cancelled:
            return None
        beat = self.context.take_beat()
        if beat is None:
            return None if self._must_beat else Beat(self._token)
        return Beat(self._token, None if beat == "null" else beat)

    def unbeat(self, beat: Beat) -> None:
        """`beat` did not arrive: keep its progress unless a newer one exists."""
        self.context.give_back_beat("null" if beat.progress is None else beat.progress)

    def _begin(self) -> asyncio.Future[Any]:
        scope = contextvars.copy_context()
        scope.run(running.set, self.context)
        function = self._activity.function
        if self._is_async:
            return asyncio.get_running_loop().create_task(function(*self._arguments), context=scope)
        return _in_thread(lambda: scope.run(function, *self._arguments), self._activity.name)

    def _conclude(self, work: asyncio.Future[Any]) -> None:
        reason = self.context.stop_reason
        if reason == LOST:
            if not work.cancelled():
                work.exception()  # looked at, so that asyncio does not complain of an error nobody saw
            return
        if work.cancelled():
            error: BaseException | None = ActivityError(
                "CancelledError", reason or "cancelled", retryable=not reason
            )
        else:
            error = work.exception()
        if error is None:
            self._succeed(work.result())
        elif reason != TIMED_OUT:
            self._fail(error)

    def _succeed(self, output: Any) -> None:
        try:
            self._report(Result(self._token, "output", output_text(output)))
        except ActivityError as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        known = isinstance(error, ActivityError)
        where = (self._activity.name, self.context.attempt, self.context.execution)
        log.warning("%s failed (attempt %d of %s): %s", *where, error, exc_info=None if known else error)
        self._report(Result(self._token, "error", error_text(error)))


def unknown_activity(task: Task, report: Callable[[Result], None]) -> None:
    """Fail a task whose activity this worker lacks; retryable, since another worker may have it."""
    name = task.get("activity")
    log.error("no activity %r here; another worker of the queue may know it", name)
    error = {
        "type": "UnknownActivityError",
        "message": f"this worker has no activity {name!r}",
        "retryable": True,
    }
    report(Result(task["token"], "error", json.dumps(error)))


def _in_thread(function: Callable[[], Any], name: str) -> asyncio.Future[Any]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle(value: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)

    def target() -> None:
        value = None
        error: BaseException | None = None
        try:
            value = function()
        except StopIteration as stop:  # a future cannot hold one
            error = RuntimeError(f"the activity raised StopIteration: {stop}")
        except BaseException as raised:  # noqa: BLE001 - handed to the loop, where it fails the attempt
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: the worker gave this activity up
            loop.call_soon_threadsafe(settle, value, error)

    threading.Thread(target=target, name=f"activity {name}", daemon=True).start()
    return future
