"""The replay check: what is derived from the log is compared with the log, for one instance or page by page for all.

Nothing is changed, and nobody waits for it: the work is done in other processes (`api/heavy.py`).
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from api import bodies
from api.bodies import VerifyBody
from api.routes import examples
from api.routing import CALLER, Routes
from api.wiring import in_chunks, namespace_of, reply, wiring_of
from domain.comparing import differences
from domain.errors import UnknownInstanceError
from engine.verifying import Verified, verify
from projections.checking import check_rows

routes = Routes("checks")

CHUNK = 100
"""Instances that one process takes at a time."""


@routes.add(
    "POST",
    "/v1/instances/{instance_id}/replay",
    answers={200: examples.REPLAY},
    problems=(404,),
    headers=CALLER,
)
async def replay_instance(request: Request, instance_id: str, *, decide: bool = False) -> Response:
    """Replay an instance.

    A check that changes nothing: its log is folded from the first event and compared with what the engine works with
    (`differences`), with its snapshot and the rows it owes (`problems`), and with its rows in every projection. With
    `decide` its stimuli are decided again, too.
    """
    wiring, shard = wiring_of(request), wiring_of(request).shard
    live = wiring.engine.cached(instance_id)
    found = await asyncio.to_thread(
        verify, shard.dsn, shard.schema, [instance_id], decide=decide, keep_state=True
    )
    if not found or found[0].namespace not in ("", namespace_of(request)):
        raise UnknownInstanceError(instance_id=instance_id)
    (one,) = found
    log = (shard.schema, "stored_events")
    rows = await asyncio.to_thread(check_rows, shard.dsn, log, shard.views, [instance_id])
    unlike = []
    if live is not None and one.state is not None and live.version == one.events:
        unlike = differences(msgspec.to_builtins(live), msgspec.json.decode(one.state))
    equal = not (unlike or one.problems) and all(checked.equal for checked in rows)
    return reply(
        {
            "equal": equal,
            "version": one.events,
            "differences": unlike,
            "problems": one.problems,
            "projections": rows,
        }
    )


@routes.add(
    "POST",
    "/v1/verify",
    answers={200: examples.VERIFIED},
    body=VerifyBody,
    example={"limit": 1000, "decide": False},
    problems=(413, 415),
)
async def verify_instances(request: Request) -> Response:
    """Verify many instances.

    A page of them, by id: each log is folded and compared with its snapshot and the rows it owes. `failed` has those
    where something differs. Projections are compared as a whole by their rebuild with `swap=false`.
    """
    body, _ = await bodies.read(request, VerifyBody)
    wiring, namespace = wiring_of(request), namespace_of(request)
    prefix = f"{wiring.engine.options.shard}-"
    streams = await wiring.store.streams(prefix, after=body.cursor or "", limit=body.limit)
    shard = wiring.shard
    work = partial(verify, shard.dsn, shard.schema, decide=body.decide)
    verified = await in_chunks(request, work, streams, CHUNK)
    checked = [one for one in verified if one.namespace in ("", namespace)]
    return reply(
        {
            "checked": len(checked),
            "events": sum(one.events for one in checked),
            "failed": [_shown(one) for one in checked if one.problems],
            "next": streams[-1] if len(streams) == body.limit else None,
        }
    )


def _shown(one: Verified) -> dict[str, Any]:
    return {"instance": one.instance, "events": one.events, "problems": one.problems}
