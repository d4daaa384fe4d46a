"""What is asked of an instance, or of all of them, beside how it is: why, what changed, does it replay, what if.

Calls as in `calls.py`, described once for both clients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from tenuto.calls import as_is, get, instance_path, moment, part, post
from tenuto.definition_text import Source, text_of
from tenuto.durations import to_text
from tenuto.exchange import Call
from tenuto.wire import UndoPlan, WhyView

SLOW_S = 120.0  # how long a page of checks or of histories may take on a busy server


def why(instance_id: str) -> Call[WhyView]:
    """Why an instance is not moving: its causes, the most blocking first, and what would move it."""
    return get(instance_path(instance_id, "why"), as_is)


def undo_plan(instance_id: str, *, reason: str | None = None) -> Call[UndoPlan]:
    """What a rollback would undo now, in the order in which it would, and what would stay standing."""
    return get(instance_path(instance_id, "undo-plan"), as_is, reason=reason)


def diff(
    instance_id: str, begin: int | datetime | str, end: int | datetime | str | None = None
) -> Call[dict[str, Any]]:
    """What changed from one version or moment to another (to now, without `end`), and the events between."""
    return get(instance_path(instance_id, "diff"), as_is, **{"from": _point(begin), "to": _point(end)})


def replay(instance_id: str, *, decide: bool = False) -> Call[dict[str, Any]]:
    """Fold the log again and compare it with all that is derived from it: `{equal: true}`, or where it differs.

    `decide` has its stimuli decided again, too.
    """
    call: Call[dict[str, Any]] = post(instance_path(instance_id, "replay"), {}, as_is)
    query = [("decide", "true")] if decide else []
    return replace(call, query=query, repeatable=True, held_s=SLOW_S)


def verify(
    *, decide: bool = False, limit: int | None = None, cursor: str | None = None
) -> Call[dict[str, Any]]:
    """The same for a page of all instances: `{checked, events, failed, next}`. Projections are another question."""
    body = {"decide": decide, "limit": limit, "cursor": cursor}
    call: Call[dict[str, Any]] = post("/v1/verify", _given(body), as_is)
    return replace(call, repeatable=True, held_s=SLOW_S)


def projections() -> Call[dict[str, Any]]:
    """How far each projection is."""
    return get("/v1/projections", as_is)


def check_projection(name: str) -> Call[dict[str, Any]]:
    """Makes a projection again beside the live one and compares every row; nothing is swapped."""
    call: Call[dict[str, Any]] = post(f"/v1/projections/{part(name)}/rebuild", {}, as_is)
    return replace(call, query=[("swap", "false")], held_s=3600.0)


def what_if(
    source: Source,
    name: str | None = None,
    *,
    versions: Sequence[str] = (),
    since: float | str | None = None,
    status: Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
    limit: int | None = None,
    cursor: str | None = None,
    each: bool = False,
) -> Call[dict[str, Any]]:
    """Try a definition on the recorded histories of `name` (by default its own): one page, the newest first.

    `versions` of the old definition, `since` (`30d`), `status` and `labels` choose the histories; `each` lists the
    verdict of every single one. Nothing is written, nothing is called.
    """
    definition = text_of(source)
    body = {
        "text": definition.text,
        "versions": list(versions) or None,
        "since": None if since is None else to_text(since),
        "status": list(status) or None,
        "labels": dict(labels) if labels else None,
        "limit": limit,
        "cursor": cursor,
        "each": each or None,
    }
    path = f"/v1/definitions/{part(name or definition.name)}/what-if"
    call: Call[dict[str, Any]] = post(path, _given(body), as_is)
    return replace(call, repeatable=True, held_s=SLOW_S)


def _point(point: int | datetime | str | None) -> str | None:
    return str(point) if isinstance(point, int) else moment(point)


def _given(body: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if value is not None}
