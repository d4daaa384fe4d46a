"""A worker whose activities do nothing: `python -m benchmarks.worker URL CONCURRENCY`."""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.work import QUEUE, STEPS, step_result
from tenuto import Activity, Worker


def activities() -> list[Activity[..., Any]]:
    """One per step of the saga."""

    def doing(step: str) -> Activity[..., Any]:
        async def act(given: dict[str, Any]) -> dict[str, Any]:
            return step_result(step, given["order_id"])

        return Activity(act, name=step, queue=QUEUE)

    return [doing(step) for step in STEPS]


if __name__ == "__main__":
    url, concurrency = sys.argv[1:]
    Worker(url, activities=activities(), concurrency=int(concurrency)).run_forever()
