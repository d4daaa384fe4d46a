"""How many cases, and what one may cost: a case that is refused, is refused with a type and soon."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings

from domain.errors import TenutoError

CASES = int(os.environ.get("TENUTO_FUZZ_CASES", "0"))
"""Of each target, by `make fuzz`; 0: the tests' own few, the same in every run."""
IN_TESTS = 2_000

Found = TypeVar("Found")


def many(divisor: int = 1) -> Callable[[Any], Any]:
    """The settings of a target; one whose examples hold several cases, or cost more, takes a part of them."""
    return settings(
        max_examples=max(1, (CASES or IN_TESTS) // divisor),
        derandomize=not CASES,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


def soon(seconds: float, work: Callable[[], Found], what: object) -> Found:
    """What comes of it, within so much CPU time of this thread: a generous bound, for what explodes.

    What took longer is done once more: a collection of Hypothesis's own garbage may have come in between.
    """
    spent = seconds
    for _ in range(2):
        began = time.thread_time()
        found = work()
        spent = time.thread_time() - began
        if spent < seconds:
            return found
    raise AssertionError(f"{spent:.2f} s for {str(what)[:2_000]!r}")


def typed(work: Callable[[], Found]) -> Found | None:
    """What comes of it, or None for a typed refusal. Any other exception is a finding."""
    try:
        return work()
    except TenutoError:
        return None
