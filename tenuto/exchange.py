"""A request as a value, and how it is sent until it is answered: retries without I/O.

A `Script` yields what it wants (a `Call` to send, a `Pause`) and is given what came back. `Client` and
`AsyncClient` drive the same scripts (`client.py`); what can be asked is in `calls.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from tenuto.errors import ServerUnreachableError, UnavailableError, api_error

T = TypeVar("T")

LONGEST_PAUSE_S = 5.0  # between two attempts of one request, whatever Retry-After says


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """One request. `repeatable`: doing it twice is doing it once. `held_s`: how long the server may hold the
    answer.
    """

    method: str
    path: str
    read: Callable[[Any], T]
    query: Sequence[tuple[str, str]] = ()
    body: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = False
    held_s: float = 0.0

    def after(self, cursor: str) -> Call[T]:
        """The same list from `cursor` on."""
        kept = [item for item in self.query if item[0] != "cursor"]
        return replace(self, query=[*kept, ("cursor", cursor)])


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the decoded JSON (None when there is none) and the wait the server asked for, in
    seconds.
    """

    status: int
    body: Any
    retry_after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Pause:
    """Asks the driver to wait before the script goes on."""

    seconds: float


Script = Generator[Call[Any] | Pause, Answer | None, T]


def exchange(call: Call[T], retries: int) -> Script[T]:
    """Send `call` until it is answered, at most `1 + retries` times, with doubling pauses in between.

    A driver sends each yielded call and gives back its `Answer`, or throws `ServerUnreachableError` in.
    What may have been done already is only sent again when it is repeatable.
    """
    for attempt in range(retries + 1):
        last = attempt == retries
        pause = min(0.1 * 2**attempt, LONGEST_PAUSE_S)
        try:
            answer = yield call
        except ServerUnreachableError as error:
            if last or (error.maybe_done and not call.repeatable):
                raise
            yield Pause(pause)
            continue
        if answer is None:
            raise TypeError("a driver answers a call with an Answer; None is for a Pause")
        if answer.status < 400:
            return call.read(answer.body)
        refusal = api_error(answer.status, answer.body if isinstance(answer.body, dict) else {})
        again = isinstance(refusal, UnavailableError) and (call.repeatable or answer.status == 429)
        if last or not again:
            raise refusal
        yield Pause(min(max(pause, answer.retry_after_s), LONGEST_PAUSE_S))
    raise ValueError(f"retries must not be negative: {retries}")
