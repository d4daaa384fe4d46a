"""`Client` and `AsyncClient`: the server's HTTP API from Python, blocking and awaited.

Both are tables over the same calls (`calls.py`); this file only knows how a call is sent with httpx. Workers
do not use it (`worker.py`): httpx is for what people and programs ask now and then.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVar, Unpack, overload

import httpx

from tenuto import calls, insight, many, moving, over_httpx, overviews
from tenuto import webhooks as hooks
from tenuto.exchange import Call, Pause, Script, exchange
from tenuto.feed import Choice, Following, follow, follow_async
from tenuto.surroundings import chosen_actor, chosen_server
from tenuto.wire import Page

if TYPE_CHECKING:
    from tenuto.wire import FeedEvent, InstanceView

P = ParamSpec("P")
T = TypeVar("T")


class Blocking(Generic[P, T]):
    """A method of `Client` that sends what `describe` describes."""

    def __init__(self, describe: Callable[P, Call[T]]) -> None:
        self.describe = describe

    @overload
    def __get__(self, client: None, owner: type[Client]) -> Self: ...
    @overload
    def __get__(self, client: Client, owner: type[Client]) -> Callable[P, T]: ...
    def __get__(self, client: Client | None, owner: type[Client]) -> Self | Callable[P, T]:
        if client is None:
            return self

        @functools.wraps(self.describe)
        def method(*args: P.args, **kwargs: P.kwargs) -> T:
            return client.send(self.describe(*args, **kwargs))

        return method


class BlockingPages(Generic[P, T]):
    """A method of `Client` that goes through all pages of a list, one item after the other."""

    def __init__(self, describe: Callable[P, Call[Page[T]]]) -> None:
        self.describe = describe

    @overload
    def __get__(self, client: None, owner: type[Client]) -> Self: ...
    @overload
    def __get__(self, client: Client, owner: type[Client]) -> Callable[P, Iterator[T]]: ...
    def __get__(self, client: Client | None, owner: type[Client]) -> Self | Callable[P, Iterator[T]]:
        if client is None:
            return self

        @functools.wraps(self.describe)
        def method(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
            call = self.describe(*args, **kwargs)
            while True:
                page = client.send(call)
                yield from page
                if page.next is None:
                    return
                call = call.after(page.next)

        return method


class Awaited(Generic[P, T]):
    """A method of `AsyncClient` that sends what `describe` describes."""

    def __init__(self, describe: Callable[P, Call[T]]) -> None:
        self.describe = describe

    @overload
    def __get__(self, client: None, owner: type[AsyncClient]) -> Self: ...
    @overload
    def __get__(
        self, client: AsyncClient, owner: type[AsyncClient]
    ) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(
        self, client: AsyncClient | None, owner: type[AsyncClient]
    ) -> Self | Callable[P, Coroutine[Any, Any, T]]:
        if client is None:
            return self

        @functools.wraps(self.describe)
        async def method(*args: P.args, **kwargs: P.kwargs) -> T:
            return await client.send(self.describe(*args, **kwargs))

        return method


class AwaitedPages(Generic[P, T]):
    """A method of `AsyncClient` that goes through all pages of a list, one item after the other."""

    def __init__(self, describe: Callable[P, Call[Page[T]]]) -> None:
        self.describe = describe

    @overload
    def __get__(self, client: None, owner: type[AsyncClient]) -> Self: ...
    @overload
    def __get__(self, client: AsyncClient, owner: type[AsyncClient]) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(
        self, client: AsyncClient | None, owner: type[AsyncClient]
    ) -> Self | Callable[P, AsyncIterator[T]]:
        if client is None:
            return self

        @functools.wraps(self.describe)
        async def method(*args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
            call = self.describe(*args, **kwargs)
            while True:
                page = await client.send(call)
                for item in page:
                    yield item
                if page.next is None:
                    return
                call = call.after(page.next)

        return method


class Client:
    """A server, blocking. `timeout` is per request, in seconds; `actor` is who acts are recorded under.

    Without `base_url` it is the server that `TENUTO_SERVER` names, else the one on this machine; without
    `actor` it is `TENUTO_ACTOR`.

    Raises TenutoApiError (NotFoundError, ConflictError, InvalidInputError, UnavailableError) for what the
    server refuses, ServerUnreachableError when no answer comes. Usable as a context manager.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        timeout: float = 10.0,
        retries: int = 3,
        actor: str | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.base_url = chosen_server(base_url)
        self._timeout = timeout
        self._retries = retries
        self._pause = pause
        self._http = httpx.Client(base_url=self.base_url, headers=over_httpx.headers(chosen_actor(actor)))

    deploy = Blocking(calls.deploy)
    definitions = Blocking(calls.definitions)
    definitions_all = BlockingPages(calls.definitions)
    definition = Blocking(calls.definition)
    start = Blocking(calls.start)
    instance = Blocking(calls.instance)
    list = Blocking(calls.list_)
    list_all = BlockingPages(calls.list_)
    events = Blocking(calls.events)
    events_all = BlockingPages(calls.events)
    history = Blocking(calls.history)
    history_all = BlockingPages(calls.history)
    transitions = Blocking(calls.transitions)
    transitions_all = BlockingPages(calls.transitions)
    count = Blocking(overviews.count)
    queues = Blocking(overviews.queues)
    alerts = Blocking(overviews.alerts)
    alerts_all = BlockingPages(overviews.alerts)
    waits = Blocking(overviews.waits)
    waits_all = BlockingPages(overviews.waits)
    deadlines = Blocking(overviews.deadlines)
    deadlines_all = BlockingPages(overviews.deadlines)
    statistics = Blocking(overviews.statistics)
    state = Blocking(calls.state)
    why = Blocking(insight.why)
    diff = Blocking(insight.diff)
    undo_plan = Blocking(insight.undo_plan)
    replay = Blocking(insight.replay)
    verify = Blocking(insight.verify)
    projections = Blocking(insight.projections)
    check_projection = Blocking(insight.check_projection)
    what_if = Blocking(insight.what_if)
    signal = Blocking(calls.signal)
    signal_by_key = Blocking(calls.signal_by_key)
    act = Blocking(calls.act)
    cancel = Blocking(calls.cancel)
    terminate = Blocking(calls.terminate)
    pause = Blocking(calls.pause)
    resume = Blocking(calls.resume)
    retry = Blocking(calls.retry)
    skip = Blocking(calls.skip)
    resolve = Blocking(calls.resolve)
    compensate = Blocking(calls.compensate)
    fail = Blocking(calls.fail)
    give_up = Blocking(calls.give_up)
    change_data = Blocking(calls.change_data)
    migrate = Blocking(moving.migrate)
    migrate_many = Blocking(many.migrate)
    batch = Blocking(many.batch)
    fork = Blocking(moving.fork)
    acknowledge = Blocking(calls.acknowledge)
    webhooks = Blocking(hooks.webhooks)
    webhook = Blocking(hooks.webhook)
    register_webhook = Blocking(hooks.register)
    remove_webhook = Blocking(hooks.remove)
    dead_letters = Blocking(hooks.dead_letters)
    dead_letters_all = BlockingPages(hooks.dead_letters)
    redeliver = Blocking(hooks.redeliver)
    health = Blocking(calls.health)

    def feed(self, **choice: Unpack[Choice]) -> Iterator[FeedEvent]:
        """Events as they happen, in the order of the log, across lost connections: each at least once."""
        return follow(self._http, Following(**choice), timeout=self._timeout, pause=self._pause)

    def wait(self, instance_id: str, timeout: float | str | None = None) -> InstanceView:
        """The instance once it has ended; WaitTimeoutError after `timeout` (seconds or `5m`)."""
        return self._run(calls.until_ended(instance_id, timeout, self._retries))

    def send(self, call: Call[T]) -> T:
        """Send any call of `tenuto.calls`, with retries."""
        return self._run(exchange(call, self._retries))

    def _run(self, script: Script[T]) -> T:
        try:
            step = next(script)
            while True:
                if isinstance(step, Pause):
                    self._pause(step.seconds)
                    step = script.send(None)
                    continue
                try:
                    response = self._http.request(**over_httpx.request(step, self._timeout))
                except httpx.TransportError as error:
                    step = script.throw(over_httpx.unreachable(error, self.base_url))
                else:
                    step = script.send(over_httpx.answer(response))
        except StopIteration as end:
            value: T = end.value
            return value

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient:
    """A server, awaited; otherwise as `Client`. Usable as an asynchronous context manager."""

    def __init__(
        self,
        base_url: str | None = None,
        *,
        timeout: float = 10.0,
        retries: int = 3,
        actor: str | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.base_url = chosen_server(base_url)
        self._timeout = timeout
        self._retries = retries
        self._pause = pause
        self._http = httpx.AsyncClient(
            base_url=self.base_url, headers=over_httpx.headers(chosen_actor(actor))
        )

    deploy = Awaited(calls.deploy)
    definitions = Awaited(calls.definitions)
    definitions_all = AwaitedPages(calls.definitions)
    definition = Awaited(calls.definition)
    start = Awaited(calls.start)
    instance = Awaited(calls.instance)
    list = Awaited(calls.list_)
    list_all = AwaitedPages(calls.list_)
    events = Awaited(calls.events)
    events_all = AwaitedPages(calls.events)
    history = Awaited(calls.history)
    history_all = AwaitedPages(calls.history)
    transitions = Awaited(calls.transitions)
    transitions_all = AwaitedPages(calls.transitions)
    count = Awaited(overviews.count)
    queues = Awaited(overviews.queues)
    alerts = Awaited(overviews.alerts)
    alerts_all = AwaitedPages(overviews.alerts)
    waits = Awaited(overviews.waits)
    waits_all = AwaitedPages(overviews.waits)
    deadlines = Awaited(overviews.deadlines)
    deadlines_all = AwaitedPages(overviews.deadlines)
    statistics = Awaited(overviews.statistics)
    state = Awaited(calls.state)
    why = Awaited(insight.why)
    diff = Awaited(insight.diff)
    undo_plan = Awaited(insight.undo_plan)
    replay = Awaited(insight.replay)
    verify = Awaited(insight.verify)
    projections = Awaited(insight.projections)
    check_projection = Awaited(insight.check_projection)
    what_if = Awaited(insight.what_if)
    signal = Awaited(calls.signal)
    signal_by_key = Awaited(calls.signal_by_key)
    act = Awaited(calls.act)
    cancel = Awaited(calls.cancel)
    terminate = Awaited(calls.terminate)
    pause = Awaited(calls.pause)
    resume = Awaited(calls.resume)
    retry = Awaited(calls.retry)
    skip = Awaited(calls.skip)
    resolve = Awaited(calls.resolve)
    compensate = Awaited(calls.compensate)
    fail = Awaited(calls.fail)
    give_up = Awaited(calls.give_up)
    change_data = Awaited(calls.change_data)
    migrate = Awaited(moving.migrate)
    migrate_many = Awaited(many.migrate)
    batch = Awaited(many.batch)
    fork = Awaited(moving.fork)
    acknowledge = Awaited(calls.acknowledge)
    webhooks = Awaited(hooks.webhooks)
    webhook = Awaited(hooks.webhook)
    register_webhook = Awaited(hooks.register)
    remove_webhook = Awaited(hooks.remove)
    dead_letters = Awaited(hooks.dead_letters)
    dead_letters_all = AwaitedPages(hooks.dead_letters)
    redeliver = Awaited(hooks.redeliver)
    health = Awaited(calls.health)

    def feed(self, **choice: Unpack[Choice]) -> AsyncIterator[FeedEvent]:
        """As `Client.feed`, to be iterated with `async for`."""
        return follow_async(self._http, Following(**choice), timeout=self._timeout, pause=self._pause)

    async def wait(
        self,
        instance_id: str,
        timeout: float | str | None = None,  # noqa: ASYNC109 - the server is told it, too
    ) -> InstanceView:
        """The instance once it has ended; WaitTimeoutError after `timeout` (seconds or `5m`)."""
        return await self._run(calls.until_ended(instance_id, timeout, self._retries))

    async def send(self, call: Call[T]) -> T:
        """Send any call of `tenuto.calls`, with retries."""
        return await self._run(exchange(call, self._retries))

    async def _run(self, script: Script[T]) -> T:
        try:
            step = next(script)
            while True:
                if isinstance(step, Pause):
                    await self._pause(step.seconds)
                    step = script.send(None)
                    continue
                try:
                    response = await self._http.request(**over_httpx.request(step, self._timeout))
                except httpx.TransportError as error:
                    step = script.throw(over_httpx.unreachable(error, self.base_url))
                else:
                    step = script.send(over_httpx.answer(response))
        except StopIteration as end:
            value: T = end.value
            return value

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
