"""Requests that move an instance to another version, or go on from a point of it as a new one.

As `calls.py`: described here, sent by `client.py`.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tenuto.calls import act
from tenuto.exchange import Call

if TYPE_CHECKING:
    from tenuto.wire import InstanceView


def migrate(
    instance_id: str,
    reason: str,
    version: str | None = None,
    *,
    steps: Mapping[str, str] | None = None,
    dry_run: bool = False,
) -> Call[Any]:
    """Move the instance to another version of its definition, by default the newest; `steps` maps ids to new ones.

    With `dry_run` the answer says whether it can move, and what stands in the way.
    """
    mapping = None if steps is None else {"steps": steps}
    call: Call[Any] = act(instance_id, "migrate", reason, toVersion=version, mapping=mapping)
    return replace(call, query=[("dryRun", "true")] if dry_run else [], repeatable=True)


def fork(
    instance_id: str,
    reason: str,
    *,
    version: int | None = None,
    execution: str | None = None,
    input: Any = None,
    data: Mapping[str, Any] | None = None,
    idempotency_key: str | None = None,
) -> Call[InstanceView]:
    """A new instance that goes on from a point of this one: at or before event `version`, or right after `execution`
    was first scheduled, or began to wait; by default, where a step failed. `input` and `data` are what is different.
    """
    body = {"fromVersion": version, "fromExecution": execution, "input": input, "data": data}
    call = act(instance_id, "fork", reason, **body)
    headers = {**call.headers, "Idempotency-Key": idempotency_key or secrets.token_hex(16)}
    return replace(call, headers=headers, repeatable=True)
