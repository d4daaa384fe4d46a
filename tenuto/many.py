"""Requests that act on many instances at once, a page at a time: each answer says what became of each instance.

As `calls.py`: described here, sent by `client.py`. `after` of a call goes on with the `next` of its answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from tenuto.exchange import Call


def filters(
    *,
    status: Sequence[str] | None = None,
    outcome: Sequence[str] | None = None,
    definition: str | None = None,
    version: str | None = None,
    correlation_id: str | None = None,
    waiting_for: Sequence[str] | None = None,
    labels: Mapping[str, str] | None = None,
    older_than: str | None = None,
) -> dict[str, Any]:
    """Which instances: all that is given must hold."""
    return _given(
        {
            "status": status,
            "outcome": outcome,
            "definition": definition,
            "version": version,
            "correlationId": correlation_id,
            "waitingFor": waiting_for,
            "labels": labels,
            "olderThan": older_than,
        }
    )


def batch(
    act: str,
    reason: str,
    filter: Mapping[str, Any],
    *,
    version: str | None = None,
    steps: Mapping[str, str] | None = None,
    limit: int | None = None,
    cursor: str | None = None,
    dry_run: bool = False,
) -> Call[dict[str, Any]]:
    """One act of a person on every instance that `filter` finds; `version` and `steps` are for `migrate`."""
    body = {"act": act, "reason": reason, "filter": filter, "toVersion": version}
    return _post("/v1/instances/batch", body, steps, limit, cursor, dry_run=dry_run)


def migrate(
    definition: str,
    reason: str,
    *,
    from_version: str,
    to_version: str | None = None,
    steps: Mapping[str, str] | None = None,
    filter: Mapping[str, Any] | None = None,
    limit: int | None = None,
    cursor: str | None = None,
    dry_run: bool = False,
) -> Call[dict[str, Any]]:
    """Move the instances of one version to another, by default the newest; `steps` maps ids to new ones."""
    body = {"reason": reason, "fromVersion": from_version, "toVersion": to_version, "filter": filter}
    path = f"/v1/definitions/{quote(definition, safe='')}/migrate"
    return _post(path, body, steps, limit, cursor, dry_run=dry_run)


def _post(
    path: str,
    body: Mapping[str, Any],
    steps: Mapping[str, str] | None,
    limit: int | None,
    cursor: str | None,
    *,
    dry_run: bool,
) -> Call[dict[str, Any]]:
    mapping = None if steps is None else {"steps": steps}
    text = json.dumps(_given({**body, "mapping": mapping, "limit": limit, "cursor": cursor}), allow_nan=False)
    return Call(
        method="POST",
        path=path,
        read=_as_is,
        query=[("dryRun", "true")] if dry_run else [],
        body=text,
        headers={"Content-Type": "application/json"},
    )


def _as_is(body: Any) -> Any:
    return body


def _given(body: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if value is not None}
