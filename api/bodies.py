"""Bodies: how they are read, and the shapes that they may have (docs/reference/http.md).

Size is refused before a byte is parsed, then JSON that the log could not hold, then what does not fit the shape:
unknown fields and wrong types, each with its place. Times need a zone. Refuses to know what is done with them.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field
from starlette.requests import Request

from api.errors import InvalidBodyError, UnsupportedMediaTypeError
from api.problems import faults_of
from domain.calls import StepError
from domain.durations import parse_duration
from domain.errors import LimitExceededError
from domain.events import Outcome, Status
from domain.executions import WaitingFor
from domain.jsonvalues import check_json, read_json
from domain.limits import MAX_BODY_BYTES, MAX_PAYLOAD_BYTES
from engine.messages import BeatReport, TaskResult

MAX_LABELS = 50
MAX_TOPICS = 100
MAX_TASKS = 1_000
"""That one poll may ask for."""
MAX_RESULTS = 1_000
"""Results, or beats, in one request."""
MAX_QUEUES = 100
MAX_CHECKED = 10_000
"""Instances that one call verifies, or runs again."""
MAX_MAPPED = 1_000
"""Steps that one migration maps."""
MAX_BATCH = 1_000
"""Instances that one request acts on."""
SURELY_SMALL = MAX_PAYLOAD_BYTES // 2
"""A body of so many bytes holds no payload beyond its limit, however its numbers and escapes are written."""

Json = Any
Id = Annotated[str, Meta(min_length=1, max_length=256)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Text = Annotated[str, Meta(min_length=1, max_length=2_000, pattern=r"\S")]  # Blanks alone say nothing.
Time = Annotated[datetime, Meta(tz=True)]
# A lease token joins its parts with `|`; `engine:` begins the sessions of the server's own dispatchers.
SessionId = Annotated[str, Meta(pattern=r"^(?!engine:)[^|\s]{1,128}$")]
# Names with a colon are the engine's own: `http:<service>`.
Queue = Annotated[str, Meta(pattern=r"^[^:/\s]{1,128}$")]
WEBHOOK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

Body = TypeVar("Body", bound="Strict")


class Strict(Struct, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """A misspelt field must not pass for an absent one."""


class StartBody(Strict, kw_only=True):
    """`POST /v1/instances`."""

    definition: Name
    input: Json = {}
    version: Name | None = None
    correlation_id: Id | None = None
    labels: Annotated[dict[Name, Id], Meta(max_length=MAX_LABELS)] | None = None
    priority: Literal["high", "normal", "low"] | None = None
    start_at: Time | None = None
    actor: Name | None = None


class ActBody(Strict, kw_only=True):
    """What a person does, and why."""

    reason: Text
    actor: Name | None = None


class StepActBody(ActBody, kw_only=True):
    """`execution` may be left out when only one execution waits for a person."""

    execution: Id | None = None


class ResolveBody(StepActBody, kw_only=True):
    """`output` stands for what the step should have answered."""

    output: Json = None


class DataBody(ActBody, kw_only=True):
    """`data` is merged into the instance's data."""

    data: dict[str, Json]


class MappingBody(Strict, kw_only=True):
    """`steps`: the id of a step → the one that it has in the other version; those left out stay as they are."""

    steps: Annotated[dict[Id, Id], Meta(max_length=MAX_MAPPED)] = {}


class MigrateBody(ActBody, kw_only=True):
    """`toVersion` left out is the newest."""

    to_version: Name | None = None
    mapping: MappingBody = field(default_factory=MappingBody)


class ForkBody(ActBody, kw_only=True):
    """From where, and what is to be different: `input` in place of the old one, `data` merged into what there was."""

    from_version: Annotated[int, Meta(ge=1, le=2**53)] | None = None
    from_execution: Id | None = None
    input: Json | UnsetType = UNSET
    data: dict[str, Json] | None = None


class FilterBody(Strict, kw_only=True):
    """The filters of the list of instances: all that are given must hold."""

    status: list[Status] = []
    outcome: list[Outcome] = []
    definition: Id | None = None
    version: Id | None = None
    correlation_id: Id | None = None
    parent: Id | None = None
    waiting_for: list[WaitingFor] = []
    labels: Annotated[dict[Name, Id], Meta(max_length=MAX_LABELS)] = {}
    paused: bool | None = None
    created_after: Time | None = None
    created_before: Time | None = None
    older_than: str | None = None


class PageBody(ActBody, kw_only=True):
    """Of what is done a page at a time."""

    limit: Annotated[int, Meta(ge=1, le=MAX_BATCH)] = 100
    cursor: Annotated[str, Meta(max_length=2_000)] | None = None


class MigrateManyBody(PageBody, kw_only=True):
    """The instances of `fromVersion` that have not ended, or of those the ones that `filter` finds."""

    from_version: Name
    to_version: Name | None = None
    mapping: MappingBody = field(default_factory=MappingBody)
    filter: FilterBody | None = None


class BatchBody(PageBody, kw_only=True):
    """`toVersion` and `mapping` are for `migrate`."""

    act: Literal[
        "cancel", "terminate", "compensate", "pause", "resume", "retry", "skip", "fail", "give-up", "migrate"
    ]
    filter: FilterBody
    to_version: Name | None = None
    mapping: MappingBody = field(default_factory=MappingBody)


class SignalBody(Strict, kw_only=True):
    """The same `signalId` counts once."""

    signal_id: Id
    payload: Json = None
    actor: Name | None = None


class KeyedSignalBody(SignalBody, kw_only=True):
    """For whatever listens under `correlationId`."""

    correlation_id: Id


class WebhookBody(Strict, kw_only=True):
    """Of no `topics`: every event. `secret` is `whsec_` and base64; one is made when there is none."""

    url: Text
    topics: Annotated[list[Name], Meta(max_length=MAX_TOPICS)] = []
    definition: Name | None = None
    labels: Annotated[dict[Name, Id], Meta(max_length=MAX_LABELS)] | None = None
    secret: Name | None = None
    reason: Text | None = None
    actor: Name | None = None


class RedeliverBody(Strict, kw_only=True):
    """Without `position`: all of them."""

    position: Annotated[int, Meta(ge=1)] | None = None


class ErrorBody(Strict, kw_only=True):
    """`retryAfter` is a duration: the least time before the next attempt."""

    type: Name
    message: str
    retryable: bool = True
    code: str | None = None
    details: dict[str, Json] | None = None
    retry_after: str | None = None


class VerifyBody(Strict, kw_only=True):
    """A page of instances. `decide`: their stimuli are decided again on the definition that they are pinned to."""

    limit: Annotated[int, Meta(ge=1, le=MAX_CHECKED)] = 1_000
    cursor: Id | None = None
    decide: bool = False


class WhatIfBody(Strict, kw_only=True):
    """The new definition, as `document` or as `text` (YAML or JSON), and which histories to run again on it.

    `versions`: of the old definition, all when left out. `since`: started no longer ago (`30d`).
    """

    document: dict[str, Json] | None = None
    text: str | None = None
    versions: Annotated[list[Name], Meta(max_length=100)] = []
    since: str | None = None
    status: Annotated[list[Status], Meta(max_length=6)] = []
    labels: Annotated[dict[Name, Id], Meta(max_length=MAX_LABELS)] = {}
    limit: Annotated[int, Meta(ge=1, le=MAX_CHECKED)] = 1_000
    cursor: Annotated[str, Meta(max_length=2_000)] | None = None
    each: bool = False


class OutputItem(Strict, kw_only=True):
    token: str
    output: Json = None


class ErrorItem(Strict, kw_only=True):
    token: str
    error: ErrorBody


class ResultItem(Strict, kw_only=True):
    """`output`, or `error` when it failed."""

    token: str
    output: Json | UnsetType = UNSET
    error: ErrorBody | UnsetType = UNSET


class WorkerBody(Strict, kw_only=True):
    """Every call that names its session renews it."""

    worker: Name = "anonymous"
    session: SessionId | None = None


class PollBody(Strict, kw_only=True):
    worker: Name
    session: SessionId
    queues: Annotated[list[Queue], Meta(min_length=1, max_length=MAX_QUEUES)]
    max_tasks: Annotated[int, Meta(ge=0, le=MAX_TASKS)] = 1
    wait: str = "0s"
    results: Annotated[list[ResultItem], Meta(max_length=MAX_RESULTS)] = []


class CompleteBody(WorkerBody, kw_only=True):
    results: Annotated[list[OutputItem], Meta(max_length=MAX_RESULTS)]


class FailBody(WorkerBody, kw_only=True):
    results: Annotated[list[ErrorItem], Meta(max_length=MAX_RESULTS)]


class BeatItem(Strict, kw_only=True):
    token: str
    progress: Json = None


class HeartbeatBody(Strict, kw_only=True):
    """Bare when `beats` is left out: the session lives, and so do its leases."""

    session: SessionId
    worker: Name = "anonymous"
    beats: Annotated[list[BeatItem], Meta(max_length=MAX_RESULTS)] = []


async def read_bytes(request: Request) -> bytes:
    """The body; LimitExceededError as soon as it is known to be too large, whatever its header says."""
    announced = request.headers.get("content-length", "")
    size = int(announced) if announced.isdecimal() else 0
    chunks = []
    if size <= MAX_BODY_BYTES:
        size = 0
        async for chunk in request.stream():
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                break
    if size > MAX_BODY_BYTES:
        raise LimitExceededError(subject="The body", actual=size, limit=MAX_BODY_BYTES, unit="bytes")
    return b"".join(chunks)


async def read_value(request: Request, subject: str = "The body") -> tuple[Any, bytes]:
    """One JSON value, and its bytes. Raises UnsupportedMediaTypeError, BadJsonError, LimitExceededError."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise UnsupportedMediaTypeError(content_type=kind, accepted="application/json")
    raw = await read_bytes(request)
    return read_json(raw or b"{}", subject, max_bytes=MAX_BODY_BYTES), raw


async def read(request: Request, kind: type[Body]) -> tuple[Body, bytes]:
    """A body of the given shape, and its bytes. Raises what `read_value` does, and InvalidBodyError."""
    value, raw = await read_value(request)
    try:
        return msgspec.convert(value, kind), raw
    except msgspec.ValidationError as error:
        faults = faults_of(str(error))
        raise InvalidBodyError(problem=faults[0]["problem"], path=faults[0]["field"], errors=faults) from None


def check_payload(value: Json, subject: str, raw: bytes) -> None:
    """Refuses a payload beyond its limit (256 KiB); `raw` is the body that it came in."""
    if len(raw) > SURELY_SMALL:
        check_json(value, subject)


def result_of(item: OutputItem | ErrorItem | ResultItem) -> TaskResult:
    """A finished task as the engine takes it. Raises DurationError, and InvalidBodyError when both are there."""
    error = getattr(item, "error", UNSET)
    output = getattr(item, "output", UNSET)
    if error is UNSET:
        return TaskResult(token=item.token, output=None if output is UNSET else output)
    if output is not UNSET:
        raise InvalidBodyError(
            problem="a result has `output` or `error`, not both", path="$.results", errors=[]
        )
    retry_after_ms = None if error.retry_after is None else parse_duration(error.retry_after)
    failure = StepError(
        type=error.type,
        message=error.message,
        retryable=error.retryable,
        code=error.code,
        details=error.details,
    )
    return TaskResult(token=item.token, error=failure, retry_after_ms=retry_after_ms)


def beat_of(item: BeatItem) -> BeatReport:
    return BeatReport(token=item.token, progress=item.progress)
