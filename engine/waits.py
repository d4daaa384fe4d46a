"""Waiting for something, but not for ever, and by the engine's clock: so tests and simulations rule over it too."""

from __future__ import annotations

import asyncio
from typing import Any

from engine.ports import Clock


async def within(clock: Clock, seconds: float, wanted: asyncio.Future[Any] | asyncio.Event) -> None:
    """Returns when it has come, or when so many seconds have passed. A future is not cancelled by giving it up."""
    waiting = asyncio.ensure_future(wanted.wait()) if isinstance(wanted, asyncio.Event) else None
    nap = asyncio.ensure_future(clock.sleep(seconds))
    try:
        future = wanted if isinstance(wanted, asyncio.Future) else waiting
        assert future is not None
        await asyncio.wait({future, nap}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        nap.cancel()
        if waiting is not None:
            waiting.cancel()
