"""What-if: a new definition is tried on the recorded histories of an old one. Nothing is written, nothing is called."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from api import bodies
from api.bodies import WhatIfBody
from api.errors import InvalidBodyError
from api.routes import examples
from api.routing import Routes
from api.wiring import Wiring, in_chunks, namespace_of, reply, wiring_of
from domain.definition.parse import read_definition
from domain.durations import parse_duration
from engine.judging import Judged, judge
from projections.queries import InstanceFilters

routes = Routes("whatif")

CHUNK = 100
"""Histories that one process takes at a time."""
PAGE = 1_000
MAX_GROUPS = 100
MAX_EXAMPLES = 5


@routes.add(
    "POST",
    "/v1/definitions/{name}/what-if",
    answers={200: examples.WHAT_IF},
    body=WhatIfBody,
    example={"text": examples.DEFINITION_TEXT, "since": "30d", "limit": 1000},
    problems=(404, 413, 415),
)
async def what_if(request: Request, name: str) -> Response:
    """Try a definition on recorded histories.

    Every history of the definition `name` (or those that the filter leaves) is run again on the new one, with the
    recorded results: how many go the same way, which diverge at which step and why, which need a result that was never
    recorded. The newest first; pass `next` as `cursor` for more.
    """
    body, _ = await bodies.read(request, WhatIfBody)
    wiring, namespace = wiring_of(request), namespace_of(request)
    document = await _document(body)
    named: Sequence[str | None] = body.versions or [None]
    for version in named:
        await wiring.engine.definition(namespace, name, version)  # Says so, when there is none.
    ids, more = await _chosen(wiring, namespace, name, body)
    shard, at = wiring.shard, wiring.clock.now()
    work = partial(judge, shard.dsn, shard.schema, document=document, at=at)
    judged = await in_chunks(request, work, ids, CHUNK)
    answer = {"definition": name, **_counted(judged), "groups": _groups(judged), "next": more}
    return reply(answer | ({"instances": judged} if body.each else {}))


async def _document(body: WhatIfBody) -> bytes:
    """The new definition as JSON, verified as at a deploy. Raises DefinitionInvalidError, InvalidBodyError."""
    if (body.document is None) == (body.text is None):
        problem = "give `document` or `text`, one of them"
        raise InvalidBodyError(problem=problem, path="$", errors=[{"field": "$", "problem": problem}])
    text = body.text if body.text is not None else msgspec.json.encode(body.document).decode()
    deployable = await asyncio.to_thread(read_definition, text, "what-if")
    return msgspec.json.encode(deployable.tree)


async def _chosen(
    wiring: Wiring, namespace: str, name: str, body: WhatIfBody
) -> tuple[list[str], str | None]:
    """Ids of the histories, and the cursor of those after them."""
    since = None
    if body.since is not None:
        since = wiring.clock.now() - timedelta(milliseconds=parse_duration(body.since))
    filters = InstanceFilters(
        namespace=namespace,
        definition=name,
        statuses=body.status,
        labels=body.labels,
        created_after=since,
    )
    ids: list[str] = []
    cursor = body.cursor
    while len(ids) < body.limit:
        page = await wiring.queries.list_instances(
            filters, limit=min(PAGE, body.limit - len(ids)), cursor=cursor
        )
        ids += [one.id for one in page.items if not body.versions or one.definition_version in body.versions]
        cursor = page.next
        if cursor is None:
            break
    return ids, cursor


def _counted(judged: Sequence[Judged]) -> dict[str, int]:
    verdicts = [one.verdict for one in judged if one.verdict is not None]
    went = [verdict.went for verdict in verdicts]
    return {
        "judged": len(judged),
        "events": sum(one.events for one in judged),
        "same": went.count("same"),
        "diverged": went.count("diverged"),
        "needsResult": went.count("needsResult"),
        "unreadable": len(judged) - len(verdicts),
        "changedInputs": sum(bool(one.changed_inputs) for one in verdicts if one.went == "same"),
        "changedResults": sum(one.changed_result for one in verdicts),
    }


def _groups(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """Those that part alike, the most frequent first; which visit, or which item, makes no difference."""
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for one in judged:
        verdict = one.verdict
        if verdict is None or verdict.went == "same":
            continue
        recorded, now = _general(verdict.recorded), _general(verdict.now)
        key = (verdict.went, verdict.step, recorded, now)
        group = groups.setdefault(
            key,
            dict(zip(("went", "step", "recorded", "now"), key, strict=True)) | {"count": 0, "examples": []},
        )
        group["count"] += 1
        if len(group["examples"]) < MAX_EXAMPLES:
            group["examples"].append(
                {"instance": one.instance, "version": verdict.version, "why": verdict.why}
            )
    return sorted(groups.values(), key=lambda group: -group["count"])[:MAX_GROUPS]


_VISIT = re.compile(r"\[\d+\]|#\d+")


def _general(said: str | None) -> str | None:
    return None if said is None else _VISIT.sub("", said)
