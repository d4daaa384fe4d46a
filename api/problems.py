"""Every refusal as HTTP says it: `application/problem+json` (RFC 9457), from one table.

An exception's type decides status, `type` and title, its message is the `detail`. What is not in the table is a
fault of ours: 500, logged with its traceback, and without a word about the inside. `tests/api/test_problems.py` holds
the table complete: a refusal nobody thought of fails there, and not before a user's eyes.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec
import psycopg
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from psycopg_pool import PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api import errors as api
from domain import errors as domain
from domain.errors import TenutoError
from domain.webhooks import UnknownWebhookError
from engine import errors as engine
from engine import ports
from engine.store.admission import UnstorableTextError
from feeds import errors as feeds
from feeds.post import BadWebhookUrlError
from feeds.signing import BadSecretError
from notary import errors as notary
from projections.pages import BadCursorError
from projections.rebuilding import RebuildRunningError
from projections.remote import ProjectionsAwayError
from projections.runner import UnknownProjectionError

MEDIA_TYPE = "application/problem+json"
TYPE = "urn:tenuto:problem:"
RETRY_AFTER_S = 1
"""Said with every 503 that does not know better: a failover takes a few seconds."""

_log = logging.getLogger(__name__)

_FAULT = "Something went wrong inside Tenuto"
_APOLOGY = "The request could not be answered because of a fault in Tenuto; the server's log has the reason."


class Problem(NamedTuple):
    """`members` are the details that the document carries beside its text: name in the error → name in the JSON."""

    status: int
    slug: str
    title: str
    members: Mapping[str, str] = {}


_LIMIT = {"subject": "subject", "actual": "actual", "limit": "limit", "unit": "unit"}

PROBLEMS: Mapping[type[TenutoError], Problem] = {
    # What was sent.
    domain.DefinitionInvalidError: Problem(
        422, "definition-invalid", "The definition has faults", {"findings": "findings"}
    ),
    domain.ExpressionError: Problem(
        422, "bad-expression", "An expression has a fault", {"position": "position"}
    ),
    domain.MappingError: Problem(422, "missing-value", "A value is missing", {"path": "path"}),
    domain.UnusableValueError: Problem(422, "unusable-value", "A value cannot be used"),
    domain.DurationError: Problem(422, "bad-duration", "That is no duration"),
    domain.EndlessLoopError: Problem(422, "endless-loop", "The definition loops for ever", {"step": "step"}),
    domain.SchemaMismatchError: Problem(
        422, "schema-mismatch", "A value does not match its schema", {"path": "path", "problem": "problem"}
    ),
    domain.BadJsonError: Problem(422, "bad-json", "That is not acceptable JSON", {"problem": "problem"}),
    domain.LimitExceededError: Problem(422, "limit-exceeded", "A limit is exceeded", _LIMIT),
    engine.IdempotencyConflictError: Problem(
        422, "idempotency-conflict", "The key belongs to another request", {"key": "key"}
    ),
    UnstorableTextError: Problem(422, "unstorable-text", "A text cannot be stored"),
    api.InvalidBodyError: Problem(422, "invalid-body", "The body does not fit", {"errors": "errors"}),
    api.InvalidCursorError: Problem(422, "invalid-cursor", "That is no cursor of this list"),
    BadCursorError: Problem(422, "invalid-cursor", "That is no cursor of this list"),
    api.InvalidParameterError: Problem(
        422, "invalid-parameter", "A parameter does not fit", {"name": "name"}
    ),
    api.OutOfRangeError: Problem(
        422, "out-of-range", "There is no such version or time", {"first": "first", "last": "last"}
    ),
    api.UnknownParameterError: Problem(
        422, "unknown-parameter", "There is no such parameter", {"name": "name"}
    ),
    api.NameMismatchError: Problem(422, "name-mismatch", "Two names that must be the same differ"),
    api.UnknownServicesError: Problem(
        422, "unknown-service", "The definition calls unknown services", {"findings": "findings"}
    ),
    api.UnsupportedMediaTypeError: Problem(415, "unsupported-media-type", "That kind of body is not taken"),
    notary.SizeOutOfRangeError: Problem(
        422, "size-out-of-range", "The log never had that size", {"name": "name", "value": "value"}
    ),
    notary.HistoryTooLongError: Problem(422, "history-too-long", "The history is too long for one file"),
    BadWebhookUrlError: Problem(422, "bad-webhook-url", "That is no address to send to"),
    BadSecretError: Problem(422, "bad-secret", "That is no secret of Standard Webhooks"),
    feeds.UnknownPositionError: Problem(
        422, "unknown-position", "The log has no such position", {"head": "head"}
    ),
    # What is not there.
    notary.UnknownEventError: Problem(404, "unknown-event", "No such event", {"event": "event"}),
    domain.UnknownDefinitionError: Problem(404, "unknown-definition", "No such definition", {"name": "name"}),
    domain.UnknownInstanceError: Problem(
        404, "unknown-instance", "No such instance", {"instance_id": "instanceId"}
    ),
    domain.NotStartedError: Problem(
        404, "unknown-instance", "No such instance", {"instance_id": "instanceId"}
    ),
    domain.UnknownSignalError: Problem(404, "unknown-signal", "No such signal", {"name": "name"}),
    engine.NoListenerError: Problem(404, "no-listener", "Nobody listens for the signal"),
    api.UnknownAlertError: Problem(404, "unknown-alert", "No such alert"),
    UnknownWebhookError: Problem(404, "unknown-webhook", "No such webhook", {"name": "name"}),
    feeds.UnknownDeadLetterError: Problem(404, "unknown-dead-letter", "No such dead letter"),
    UnknownProjectionError: Problem(404, "unknown-projection", "No such projection"),
    # What does not go together with what is there.
    domain.VersionTakenError: Problem(
        409, "version-taken", "That version is deployed already", {"version": "version"}
    ),
    domain.InvalidTransitionError: Problem(
        409,
        "invalid-transition",
        "The instance's status does not allow it",
        {"from_status": "from", "to_status": "to", "reason": "reason"},
    ),
    domain.InstanceEndedError: Problem(
        409,
        "instance-ended",
        "The instance has ended",
        {"instance_id": "instanceId", "status": "instanceStatus"},
    ),
    domain.UnknownExecutionError: Problem(
        409, "unknown-execution", "No execution that this could apply to", {"execution": "execution"}
    ),
    domain.MigrationRefusedError: Problem(
        409,
        "migration-refused",
        "The instance cannot move to that version",
        {"from_version": "fromVersion", "to_version": "toVersion", "obstacles": "obstacles"},
    ),
    domain.ForkRefusedError: Problem(
        409, "fork-refused", "The instance cannot be forked there", {"version": "version"}
    ),
    domain.SignalConflictError: Problem(
        409, "signal-conflict", "The signal id is taken", {"signal_id": "signalId"}
    ),
    domain.StaleTokenError: Problem(409, "stale-token", "The lease is no longer held"),
    engine.SeveralListenersError: Problem(
        409, "several-listeners", "Several instances listen for the signal", {"count": "count"}
    ),
    api.NothingWaitsError: Problem(409, "unknown-execution", "No execution that this could apply to"),
    api.AmbiguousExecutionError: Problem(
        409, "ambiguous-execution", "Several executions wait for a person", {"executions": "executions"}
    ),
    ports.VersionConflictError: Problem(409, "version-conflict", "Somebody else was first"),
    ports.DuplicateCommandError: Problem(409, "version-conflict", "Somebody else was first"),
    RebuildRunningError: Problem(409, "rebuild-running", "The projection is being rebuilt already"),
    notary.NotCoveredError: Problem(
        409, "not-covered", "No checkpoint covers the event yet", {"size": "size"}
    ),
    notary.LogInconsistentError: Problem(409, "log-inconsistent", "The log is not the one that was signed"),
    engine.WrongVersionError: Problem(
        412, "wrong-version", "The instance has changed", {"expected": "expected", "actual": "actual"}
    ),
    # Who may.
    engine.ForgedTokenError: Problem(403, "forged-token", "The token is not ours"),
    # Not now.
    feeds.TooManyConsumersOfOneError: Problem(429, "too-many-consumers", "As many consumers as one may have"),
    feeds.TooManyConsumersError: Problem(503, "too-many-consumers", "As many consumers as a server takes"),
    ports.StoreUnavailableError: Problem(503, "store-unavailable", "The database cannot be reached"),
    ports.CommitUnknownError: Problem(
        503, "commit-unknown", "It is unknown whether this was done: repeat with the same Idempotency-Key"
    ),
    engine.OverloadedError: Problem(503, "overloaded", "Too much at once"),
    engine.StoppedError: Problem(503, "stopping", "The server is shutting down"),
    ProjectionsAwayError: Problem(503, "projections-away", "The lists cannot answer"),
    api.NotReadyError: Problem(503, "not-ready", "The server is not ready"),
    api.NotFreshError: Problem(503, "not-fresh", "The lists are behind", {"position": "position"}),
    notary.NoNotaryError: Problem(503, "no-notary", "Nothing is signed here"),
    notary.NotExportedError: Problem(503, "not-exported", "A checkpoint could not be exported"),
    notary.KeyUnusableError: Problem(503, "key-unusable", "The signing key cannot be used"),
    # Faults of ours: the detail is for the log.
    domain.CorruptHistoryError: Problem(500, "internal-error", _FAULT),
    engine.IncidentError: Problem(500, "internal-error", _FAULT),
}


def install(app: FastAPI) -> None:
    """Makes every refusal of the application a problem document."""
    app.add_exception_handler(TenutoError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _plain)
    app.add_exception_handler(psycopg.OperationalError, _unavailable)
    app.add_exception_handler(psycopg.InterfaceError, _unavailable)
    app.add_exception_handler(psycopg.errors.UndefinedTable, _not_made_yet)
    app.add_exception_handler(Exception, _failed)


def problem_of(error: TenutoError) -> Problem | None:
    """The row of the table for an error, by its type or the nearest ancestor in it; None for a fault of ours."""
    for kind in type(error).__mro__:
        found = PROBLEMS.get(kind)
        if found is not None:
            too_large = found.slug == "limit-exceeded" and error.details.get("unit") == "bytes"
            return found._replace(status=413) if too_large else found
    return None


def document(
    status: int, slug: str, title: str, detail: str, headers: Mapping[str, str] | None = None, **members: Any
) -> Response:
    """One problem document (RFC 9457 §3)."""
    body = {"type": TYPE + slug, "title": title, "status": status, "detail": detail, **members}
    return Response(msgspec.json.encode(body), status, headers, MEDIA_TYPE)


def described(error: TenutoError) -> dict[str, Any]:
    """A refusal as a member of another answer: that of one item of a batch."""
    problem = problem_of(error)
    if problem is None or problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error("a refusal that should not reach a caller", exc_info=error)
        return {"type": TYPE + "internal-error", "title": _FAULT, "status": 500, "detail": _APOLOGY}
    status, slug, title, members = problem
    shown = {name: error.details[key] for key, name in members.items() if key in error.details}
    return {"type": TYPE + slug, "title": title, "status": status, "detail": str(error), **shown}


def refused(error: TenutoError) -> Response:
    """The answer to a refusal of ours."""
    problem = problem_of(error)
    if problem is None or problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return _fault(error)
    status, slug, title, members = problem
    shown = {name: error.details[key] for key, name in members.items() if key in error.details}
    headers = None
    if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        headers = {"Retry-After": str(error.details.get("retry_after", RETRY_AFTER_S))}
    detail = str(error)
    if slug == "store-unavailable":  # An answer is the end of it: only the one who asked can try again.
        detail = (
            f"The database cannot be reached ({error.details.get('problem')}); nothing was stored. Try again."
        )
    elif slug == "commit-unknown":
        detail = f"Whether it was done is unknown: repeat with the same Idempotency-Key. {detail}"
    return document(status, slug, title, detail, headers, **shown)


def faults_of(problem: str) -> list[dict[str, str]]:
    """What msgspec found wrong with a value, as `[{"field": "$.labels", "problem": "…"}]`."""
    match = _MSGSPEC.fullmatch(problem)
    said, path = (match["said"], match["path"] or "$") if match else (problem, "$")
    named = _FIELD.fullmatch(said)
    return [{"field": f"{path}.{named['field']}" if named else path, "problem": said}]


_MSGSPEC = re.compile(r"(?P<said>.*?)(?: - at `(?P<path>\$.*)`)?", re.DOTALL)
_FIELD = re.compile(r"Object (?:missing required|contains unknown) field `(?P<field>[^`]*)`")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, TenutoError)  # noqa: S101 - registered for nothing else
    return refused(error)


async def _invalid(request: Request, error: Exception) -> Response:
    """Parameters of the address and headers; bodies are read in `api/bodies.py`."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
    faults = [_fault_of(one) for one in error.errors()]
    detail = "; ".join(f"{one['in']} {one['field']} {one['problem']}" for one in faults)
    return document(422, "invalid-parameter", "A parameter does not fit", detail, errors=faults)


def _fault_of(one: Mapping[str, Any]) -> dict[str, str]:
    """What pydantic says of one parameter, in our words. Which of a repeated one it was, its value shows."""
    place, *names = (str(part) for part in one["loc"] if isinstance(part, str))
    must = _MUST.sub("must ", one["msg"])
    said = "is missing" if one["type"] == "missing" else f"is {str(one['input'])[:200]!r}; it {must}"
    return {"in": place, "field": ".".join(names), "problem": said}


_MUST = re.compile(r"^(?:Input|Value|String|List) should ")


async def _plain(request: Request, error: Exception) -> Response:
    """What the router itself refuses: no such address (404), no such method there (405)."""
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    phrase = HTTPStatus(error.status_code).phrase
    slug = phrase.lower().replace(" ", "-")
    what = f"{request.method} {request.url.path}"
    detail = (
        f"{what}: {phrase.lower()}. Every address there is: /docs" if error.detail == phrase else error.detail
    )
    return document(error.status_code, slug, phrase, detail, error.headers)


async def _unavailable(request: Request, error: Exception) -> Response:
    """The lists' own connections; the log's failures have a type of ours. PoolTimeout is one of these, too."""
    problem = "no connection came free in time" if isinstance(error, PoolTimeout) else type(error).__name__
    return refused(ports.StoreUnavailableError(problem=problem))


async def _not_made_yet(request: Request, error: Exception) -> Response:
    """A server's first moments: it serves while the projections make their tables."""
    return refused(api.NotReadyError(problem="the lists are being made; ask again."))


async def _failed(request: Request, error: Exception) -> Response:
    """Anything else. Starlette raises it again after this answer, so that the server logs its traceback."""
    return apology()


def _fault(error: TenutoError) -> Response:
    _log.error("a refusal that should not reach a caller", exc_info=error)
    return apology()


def apology() -> Response:
    """What a caller hears of a fault of ours."""
    return document(500, "internal-error", _FAULT, _APOLOGY)
