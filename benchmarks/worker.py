"""A worker whose activities do nothing: `python -m benchmarks.worker URL CONCURRENCY`."""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.work import QUEUE, STEPS, UNDOS, step_result
from tenuto import Activity, ActivityError, Worker


def activities() -> list[Activity[..., Any]]:
    """One per step of the sagas, undos included, and one that refuses."""

    def doing(step: str) -> Activity[..., Any]:
        async def act(given: dict[str, Any]) -> dict[str, Any]:
            return step_result(step, given.get("order_id") or given["ref"])

        return Activity(act, name=step, queue=QUEUE)

    return [*map(doing, (*STEPS, *UNDOS)), Activity(_refuse, name="refuse", queue=QUEUE)]


async def _refuse(given: dict[str, Any]) -> None:
    raise ActivityError("RefusedError", f"{given['order_id']} cannot be shipped", retryable=False)


if __name__ == "__main__":
    url, concurrency = sys.argv[1:]
    Worker(url, activities=activities(), concurrency=int(concurrency)).run_forever()
