"""Blocking code on the event loop: where it would wait for a socket, the loop goes on with something else.

The event log's library knows nothing of asyncio. Here it runs in a greenlet, which is left wherever it waits and
entered again when there is news (as SQLAlchemy does it): no thread and the loop take turns at the interpreter.
Next: `connections.py`, whose connections wait by this.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from greenlet import getcurrent, greenlet
from psycopg.abc import PQGen
from psycopg.waiting import Ready, Wait

T = TypeVar("T")


class _Work(greenlet):
    """Code that `run` has called. It gives its parent what it waits for."""


async def run(work: Callable[[], T]) -> T:
    """What `work()` returns or raises. A cancellation is raised where it waits."""
    inside = _Work(work)
    left = inside.switch()
    while not inside.dead:
        try:
            news = await cast(Awaitable[Any], left)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to who waits
            left = inside.throw(error)
        else:
            left = inside.switch(news)
    return cast(T, left)


def is_here() -> bool:
    """Whether `run` has called this code."""
    return isinstance(getcurrent(), _Work)


def awaited(wanted: Awaitable[T]) -> T:
    """Its result. Only in code that `run` has called."""
    parent = getcurrent().parent
    assert parent is not None
    return cast(T, parent.switch(wanted))


def wait(generator: PQGen[T], socket: int) -> T:
    """What `psycopg.waiting.wait` does, in code that `run` has called."""
    try:
        wanted = next(generator)
        while True:
            wanted = generator.send(_room(socket, wanted) or awaited(_news(socket, wanted)))
    except StopIteration as end:
        return cast(T, end.value)


def _room(socket: int, wanted: Wait) -> Ready | None:
    """There is nearly always room to write, and asking costs less than a turn of the loop."""
    if not wanted & Wait.W:
        return None
    poll = select.poll()
    poll.register(socket, select.POLLOUT)
    return Ready.W if poll.poll(0) else None


async def _news(socket: int, wanted: Wait) -> Ready:
    loop = asyncio.get_running_loop()
    news: asyncio.Future[Ready] = loop.create_future()

    def tell(ready: Ready) -> None:
        if not news.done():
            news.set_result(ready)

    if wanted & Wait.R:
        loop.add_reader(socket, tell, Ready.R)
    if wanted & Wait.W:
        loop.add_writer(socket, tell, Ready.W)
    try:
        return await news
    finally:
        if wanted & Wait.R:
            loop.remove_reader(socket)
        if wanted & Wait.W:
            loop.remove_writer(socket)
