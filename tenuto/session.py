"""A worker's side of the wire: the four task calls, over one aiohttp client, under one session name.

Knows bodies and statuses; knows nothing of activities, slots or retries (`worker.py`). Any call renews the
session.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal, Self

import aiohttp

from tenuto.durations import to_text
from tenuto.errors import TenutoClientError
from tenuto.wire import Task

ANSWER_WITHIN_S = 10.0  # beyond the time a poll is held
BEAT_WITHIN_S = 5.0  # a session is lost after 5 s unheard (semantics, leases): a later answer is of no use


class NoAnswerError(TenutoClientError):
    """The server did not answer, or cannot now; the same call may be made again."""


class RefusedError(TenutoClientError):
    """The server refuses this call (a 4xx); making it again will not help."""


@dataclass(frozen=True, slots=True)
class Result:
    """How an attempt ended: the JSON text of its output or of its error."""

    token: str
    kind: Literal["output", "error"]
    text: str

    @property
    def item(self) -> str:
        return f'{{"token":{json.dumps(self.token)},"{self.kind}":{self.text}}}'


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life of one attempt; `progress` is JSON text, None for a bare one."""

    token: str
    progress: str | None = None

    @property
    def item(self) -> str:
        progress = "" if self.progress is None else f',"progress":{self.progress}'
        return f'{{"token":{json.dumps(self.token)}{progress}}}'


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to one result (`accepted`, `duplicate`, `ignored`, `refused`) or beat (`ok`, …)."""

    status: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Polled:
    """Tasks handed out, verdicts on the results sent along, and the server's own time (None if it does not
    say).
    """

    tasks: Sequence[Task]
    verdicts: Sequence[Verdict]
    server_time: datetime | None


class Session:
    """The task calls. Raises NoAnswerError or RefusedError, nothing else about the network."""

    def __init__(self, server_url: str, *, worker: str, session: str, queues: Sequence[str]) -> None:
        self._url = server_url
        self._worker = worker
        self._session = session
        self._queues = list(queues)
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(headers={"Content-Type": "application/json"})
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def poll(self, max_tasks: int, wait_s: float, results: Sequence[Result] = ()) -> Polled:
        """Ask for at most `max_tasks`, waiting `wait_s` for the first; report `results` in the same round
        trip.
        """
        asked = {"queues": self._queues, "maxTasks": max_tasks, "wait": to_text(wait_s)}
        items = {"results": [result.item for result in results]} if results else {}
        body, server_time = await self._post("poll", asked, items, wait_s + ANSWER_WITHIN_S)
        verdicts = _verdicts(body, len(results)) if results else []
        return Polled(body.get("tasks") or [], verdicts, server_time)

    async def report(self, results: Sequence[Result]) -> list[Verdict]:
        """Report results without asking for work; verdicts in the order of `results`."""
        verdicts: dict[Result, Verdict] = {}
        for kind, path in (("output", "complete"), ("error", "fail")):
            some = [result for result in results if result.kind == kind]
            if some:
                items = {"results": [result.item for result in some]}
                body, _ = await self._post(path, {}, items, ANSWER_WITHIN_S)
                verdicts.update(zip(some, _verdicts(body, len(some)), strict=True))
        return [verdicts[result] for result in results]

    async def beat(self, beats: Sequence[Beat]) -> list[Verdict]:
        """Renew the session and the attempts named; verdicts `ok`, `cancelled` or `lost` in the order of
        `beats`.
        """
        items = {"beats": [beat.item for beat in beats]}
        body, _ = await self._post("heartbeat", {}, items, BEAT_WITHIN_S)
        return _verdicts(body, len(beats)) if beats else []

    async def _post(
        self, path: str, fields: dict[str, Any], items: dict[str, list[str]], within_s: float
    ) -> tuple[dict[str, Any], datetime | None]:
        if self._http is None:
            raise RuntimeError("a Session is used inside `async with`")
        head = json.dumps({"worker": self._worker, "session": self._session, **fields})
        # Items were made JSON text when they arose, once; they are only joined here.
        lists = "".join(f',"{key}":[{",".join(texts)}]' for key, texts in items.items())
        url = f"{self._url}/v1/tasks/{path}"
        timeout = aiohttp.ClientTimeout(total=within_s)
        try:
            async with self._http.post(
                url, data=f"{head[:-1]}{lists}}}".encode(), timeout=timeout
            ) as response:
                raw = await response.read()
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            raise NoAnswerError(f"{url}: {str(error) or type(error).__name__}") from error
        if response.status >= 500 or response.status in (408, 425, 429):
            raise NoAnswerError(f"{url}: HTTP {response.status}")
        if response.status >= 400:
            raise RefusedError(f"{url}: HTTP {response.status}: {raw[:500].decode(errors='replace')}")
        return _object(url, raw), _date(response.headers.get("Date"))


def _object(url: str, raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise NoAnswerError(f"{url}: the answer is no JSON") from error
    if not isinstance(body, dict):
        raise NoAnswerError(f"{url}: the answer is no JSON object")
    return body


def _verdicts(body: dict[str, Any], expected: int) -> list[Verdict]:
    verdicts = [
        Verdict(str(one.get("status")), str(one.get("reason") or "")) for one in body.get("results") or []
    ]
    if len(verdicts) != expected:
        raise NoAnswerError(f"{expected} items were sent and {len(verdicts)} answered; sending them again")
    return verdicts


def _date(header: str | None) -> datetime | None:
    try:
        return parsedate_to_datetime(header) if header else None
    except ValueError:
        return None
