"""Everything that can go wrong for a user of `tenuto`: what a server refused, what could not be reached, what
an activity says.

One table maps an HTTP status to a class; the answer's problem document (RFC 9457) gives the words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tenuto.wire import Finding


class TenutoClientError(Exception):
    """Whatever `tenuto` raises about a server; catch this to catch all of it."""


class ServerUnreachableError(TenutoClientError):
    """No answer came from the server. `maybe_done` says whether the request may have reached it and been
    done.
    """

    def __init__(self, url: str, cause: str, *, maybe_done: bool = False) -> None:
        self.url = url
        self.maybe_done = maybe_done
        if maybe_done:
            text = (
                f"The connection to {url} broke before the answer came ({cause}). What was asked may have "
                "been done: look before asking again, or ask again with the same idempotency key."
            )
        else:
            text = (
                f"No Tenuto server answers at {url} ({cause}). Start one with `tenuto dev`, or name another "
                "with --server, TENUTO_SERVER or Client(base_url=…)."
            )
        super().__init__(text)


class WaitTimeoutError(TenutoClientError):
    """The instance did not end within the time given to `wait`; it goes on, so call `wait` again."""


class TenutoApiError(TenutoClientError):
    """The server refused: `status` and the fields of its problem document (RFC 9457); `problem` is the whole
    document.
    """

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.problem = problem
        self.type = str(problem.get("type") or "about:blank")
        self.title = str(problem.get("title") or f"HTTP {status}")
        self.detail = str(problem.get("detail") or "")
        super().__init__(self.detail or self.title)

    @property
    def findings(self) -> Sequence[Finding]:
        """What verification found in a refused definition, each with line and column; otherwise empty."""
        findings: Sequence[Finding] = self.problem.get("findings") or ()
        return findings


class NotFoundError(TenutoApiError):
    """404: no such instance, definition, version or signal."""


class ConflictError(TenutoApiError):
    """409 or 412: what the instance or the version is now does not allow it."""


class InvalidInputError(TenutoApiError):
    """400, 413 or 422: what was sent is not acceptable; sending it again will not help."""


class UnavailableError(TenutoApiError):
    """429, 502, 503 or 504: not now; the same request may succeed later."""


_BY_STATUS: Mapping[int, type[TenutoApiError]] = {
    400: InvalidInputError,
    404: NotFoundError,
    409: ConflictError,
    412: ConflictError,
    413: InvalidInputError,
    422: InvalidInputError,
    429: UnavailableError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
}


def api_error(status: int, problem: Mapping[str, Any]) -> TenutoApiError:
    """The typed error for an answer with this status (400 or more)."""
    return _BY_STATUS.get(status, TenutoApiError)(status, problem)


class ActivityError(Exception):
    """Raised by an activity to say how its step failed.

    `type` is what retry policies, fallbacks and error handlers match on. `retryable=False` ends the attempts.
    `details` is any JSON object, kept with the failure. `retry_after` (seconds, or text such as `5s`) is the
    least time before the next attempt.
    """

    def __init__(
        self,
        type: str,
        message: str,
        *,
        retryable: bool = True,
        details: Mapping[str, Any] | None = None,
        retry_after: float | str | None = None,
    ) -> None:
        super().__init__(message)
        self.type = type
        self.message = message
        self.retryable = retryable
        self.details = details
        self.retry_after = retry_after
