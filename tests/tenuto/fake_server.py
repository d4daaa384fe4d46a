"""Small servers that speak the wire: one answers from a script, one hands out tasks; both keep what came."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from tenuto.wire import Task


@dataclass(frozen=True)
class Got:
    """One request as it arrived."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    text: str

    @property
    def body(self) -> Any:
        return json.loads(self.text)


FIRST = "t1"  # the token of a task that is given without one

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Listener:
    """An aiohttp application on a free port of this machine; `port` is kept over a stop and a start."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._runner: web.AppRunner | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._handler)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None


@dataclass
class Answers:
    """A scripted HTTP API: answers are given in order, whatever is asked; `got` is what was asked."""

    url: str
    got: list[Got] = field(default_factory=list)
    script: deque[web.Response | str] = field(default_factory=deque)

    def answer(self, body: object = None, status: int = 200, headers: dict[str, str] | None = None) -> Self:
        """Queue one answer; None is an empty object."""
        self.script.append(web.json_response({} if body is None else body, status=status, headers=headers))
        return self

    def problem(
        self, status: int, detail: str, headers: dict[str, str] | None = None, **more: object
    ) -> Self:
        """Queue a problem document (RFC 9457)."""
        body = {"type": "urn:tenuto:problem", "title": "Refused", "status": status, "detail": detail, **more}
        text = json.dumps(body)
        kind = "application/problem+json"
        self.script.append(web.Response(text=text, status=status, content_type=kind, headers=headers))
        return self

    def cut(self) -> Self:
        """Queue a connection that breaks before the answer."""
        self.script.append("cut")
        return self

    async def handle(self, request: web.Request) -> web.StreamResponse:
        query, headers = list(request.query.items()), dict(request.headers)
        self.got.append(
            Got(request.method, request.raw_path.split("?")[0], query, headers, await request.text())
        )
        answer = (
            self.script.popleft()
            if self.script
            else web.json_response({"detail": "not scripted"}, status=418)
        )
        if isinstance(answer, str):
            if request.transport is not None:
                request.transport.abort()
            raise web.HTTPInternalServerError
        return answer


@contextmanager
def answering() -> Iterator[Answers]:
    """A scripted server in a thread of its own, for blocking clients and for the command line."""
    loop = asyncio.new_event_loop()
    answers = Answers("")
    listener = _Listener(answers.handle)
    thread = threading.Thread(target=loop.run_forever, name="fake server", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(listener.start(), loop).result(10)
        answers.url = listener.url
        yield answers
    finally:
        asyncio.run_coroutine_threadsafe(listener.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


class TaskServer:
    """The four task calls over queues in memory. Results are counted by token, as the real server does."""

    def __init__(self) -> None:
        self._listener = _Listener(self._handle)
        self.waiting: deque[Task] = deque()
        self.outputs: dict[str, Any] = {}
        self.errors: dict[str, Any] = {}
        self.accepted: list[str] = []
        self.got: list[Got] = []
        self.beats: list[dict[str, Any]] = []
        self.progress: list[tuple[str, Any]] = []
        self.say_to: dict[str, str] = {}  # token -> what its next beat hears
        self.refuse: Callable[[dict[str, Any]], str | None] = lambda _: None
        self.refuse_batches_with: int | None = None
        self.drop_next_answer_to_results = False
        self.answer_when: dict[str, asyncio.Event] = {}  # token -> before it, its result is not answered
        self.changed = asyncio.Condition()

    @property
    def url(self) -> str:
        return self._listener.url

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        await self._listener.start()

    async def stop(self) -> None:
        await self._listener.stop()

    async def give(self, activity: str, value: object = None, *, token: str = FIRST, **more: Any) -> None:
        """Hand one task to whoever polls."""
        task: Task = {"token": token, "activity": activity, "input": value, "attempt": 1, "instanceId": "0-i"}
        task |= {"execution": f"{activity}#1", "step": activity, "idempotencyKey": f"0-i/{activity}#1"}
        task.update(more)  # type: ignore[typeddict-item]
        self.waiting.append(task)
        await self._tell()

    async def until(self, condition: Callable[[], bool], within_s: float = 10.0) -> None:
        """Wait for something to have arrived."""
        async with asyncio.timeout(within_s), self.changed:
            await self.changed.wait_for(condition)

    def paths(self) -> list[str]:
        return [got.path.rsplit("/", 1)[1] for got in self.got]

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        got = Got(request.method, request.path, [], dict(request.headers), await request.text())
        self.got.append(got)
        body = got.body
        results = body.get("results") or []
        if len(results) > 1 and self.refuse_batches_with is not None:
            return web.json_response({"detail": "refused"}, status=self.refuse_batches_with)
        verdicts = [self._take(result) for result in results]
        await self._tell()
        for held in [
            self.answer_when[token] for result in results if (token := result["token"]) in self.answer_when
        ]:
            await held.wait()
        if results and self.drop_next_answer_to_results:
            self.drop_next_answer_to_results = False
            if request.transport is not None:
                request.transport.abort()
            raise web.HTTPInternalServerError
        answer: dict[str, Any] = {"results": verdicts} if results else {}
        if request.path.endswith("/heartbeat"):
            answer = {"results": [self._beat(beat) for beat in body["beats"]]}
            self.beats.append(body)
        elif request.path.endswith("/poll"):
            await self._tell()
            answer["tasks"] = await self._tasks(
                body["maxTasks"], float(body["wait"].removesuffix("ms")) / 1000
            )
        await self._tell()
        return web.json_response(answer)

    def _take(self, result: dict[str, Any]) -> dict[str, str]:
        reason = self.refuse(result)
        if reason is not None:
            return {"status": "refused", "reason": reason}
        token = result["token"]
        if "output" in result:
            self.outputs[token] = result["output"]
        else:
            self.errors[token] = result["error"]
        duplicate = token in self.accepted
        self.accepted += [] if duplicate else [token]
        return {"status": "duplicate" if duplicate else "accepted"}

    def _beat(self, beat: dict[str, Any]) -> dict[str, str]:
        if "progress" in beat:
            self.progress.append((beat["token"], beat["progress"]))
        return {"status": self.say_to.pop(beat["token"], "ok")}

    async def _tasks(self, most: int, wait_s: float) -> list[Task]:
        try:
            async with asyncio.timeout(wait_s), self.changed:
                await self.changed.wait_for(lambda: bool(self.waiting))
        except TimeoutError:
            return []
        return [self.waiting.popleft() for _ in range(min(most, len(self.waiting)))]
