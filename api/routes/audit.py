"""For auditors: who did what, and what proves that nobody changed it since. How to check: docs/reference/audit.md."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Annotated, Any

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from api.errors import InvalidParameterError
from api.reading import state_of
from api.routes import audit_examples as examples
from api.routes.lists import MinPosition, Text, fresh, zoned
from api.routes.paging import DEFAULT_PAGE, Cursor, Limit
from api.routing import Routes
from api.wiring import namespace_of, notary_of, reply, wiring_of
from domain.times import rfc3339
from notary.evidence import evidence_of
from notary.shelf import Signed
from projections.audit import Audit, Kind
from projections.audit_queries import AuditFilters
from tenuto.audit.export import leaf_line
from tenuto.audit.leaf import leaf_of

routes = Routes("audit")

NOTE_MEDIA_TYPE = "text/plain; charset=utf-8"
Moment = Annotated[datetime | None, Query(description="RFC 3339, with a zone.")]
Place = Annotated[int | None, Query(ge=1, le=2**53, description="Of the event in the log.", examples=[17])]


@routes.add(
    "GET",
    "/v1/audit/log",
    answers={200: {"entries": [examples.LOGGED], "next": None, "position": 4711}},
)
async def list_audit_log(
    request: Request,
    *,
    instance: Annotated[str | None, Query(max_length=256)] = None,
    definition: Text = None,
    actor: Text = None,
    kind: Annotated[
        list[Kind] | None, Query(description="Any of these; repeatable.", examples=[["act"]])
    ] = None,
    request_id: Annotated[str | None, Query(alias="requestId", max_length=256)] = None,
    after: Moment = None,
    before: Moment = None,
    limit: Limit = DEFAULT_PAGE,
    cursor: Cursor = None,
    min_position: MinPosition = None,
) -> Response:
    """Read the audit log.

    Every start, change of status, act of a person, signal, deploy, migration and change of a webhook: who, when, why,
    and by which request; newest first.
    """
    zoned("after", after)
    zoned("before", before)
    filters = AuditFilters(
        namespace=namespace_of(request),
        instance=instance,
        definition=definition,
        actor=actor,
        kinds=kind or (),
        request_id=request_id,
        at_after=after,
        at_before=before,
    )
    await fresh(request, Audit.name, min_position)
    page = await wiring_of(request).audit.entries(filters, limit=limit, cursor=cursor)
    return reply({"entries": page.items, "next": page.next, "position": page.position})


@routes.add("GET", "/v1/audit", answers={200: examples.STANDING}, headers=())
async def get_notary(request: Request) -> Response:
    """See how far the notary is.

    `key` is the public key that checkpoints are signed with; an auditor gets it from elsewhere, too. `exported` is the
    size of the last checkpoint that was exported, `problem` what keeps the notary from signing.
    """
    notary = notary_of(request)
    await notary.verifier()
    return reply(notary.standing())


@routes.add("GET", "/v1/audit/checkpoint", answers={200: examples.NOTE}, headers=(), problems=(409,))
async def get_checkpoint(request: Request) -> Response:
    """Read the last checkpoint.

    A C2SP tlog-checkpoint: origin, number of events, root, and an Ed25519 signature.
    """
    notary = notary_of(request)
    signed = notary.last or await notary.checkpoint()
    return Response(signed.note, media_type=NOTE_MEDIA_TYPE)


@routes.add(
    "GET",
    "/v1/audit/checkpoints",
    answers={200: {"checkpoints": [examples.SIGNED], "next": None}},
    headers=(),
)
async def list_checkpoints(
    request: Request,
    *,
    after: Annotated[int, Query(ge=0, le=2**53, description="With more events than these.")] = 0,
    limit: Limit = DEFAULT_PAGE,
) -> Response:
    """List the checkpoints that were signed.

    Oldest first; `next` is the `after` to go on with.
    """
    found = await notary_of(request).checkpoints(after, limit + 1)
    shown = found[:limit]
    more = str(shown[-1].checkpoint.size) if len(found) > limit else None
    return reply({"checkpoints": [_signed(one) for one in shown], "next": more})


@routes.add("POST", "/v1/audit/checkpoints", answers={200: examples.SIGNED}, headers=(), problems=(409,))
async def make_checkpoint(request: Request) -> Response:
    """Sign a checkpoint now.

    Answers once it is exported. A log that has not grown is not signed again; one that is not the one signed before is
    not signed at all (409).
    """
    return reply(_signed(await notary_of(request).checkpoint()))


@routes.add("GET", "/v1/audit/proof", answers={200: examples.PROOF}, headers=(), problems=(404, 409))
async def prove_inclusion(
    request: Request,
    *,
    position: Place = None,
    instance: Annotated[
        str | None, Query(max_length=256, description="With `version`, in place of `position`.")
    ] = None,
    version: Annotated[int | None, Query(ge=1, le=2**53)] = None,
    size: Annotated[
        int | None, Query(ge=1, le=2**53, description="Of the tree; without it, of the last checkpoint.")
    ] = None,
) -> Response:
    """Prove that an event is in the log.

    The hashes lead from `leaf` to the root of the tree of `size` events (RFC 6962), which `checkpoint` signs.
    """
    if (position is None) == (instance is None) or (instance is None) != (version is None):
        expected = "given alone, or `instance` and `version` in place of it"
        raise InvalidParameterError(place="query", name="position", value=position, expected=expected)
    found = await notary_of(request).inclusion(position=position, stream=instance, version=version, size=size)
    return reply(
        {
            "index": found.ranked.rank,
            "position": found.ranked.row.position,
            "size": found.size,
            "leaf": _base64(leaf_of(found.ranked.row)),
            "proof": [_base64(hash) for hash in found.hashes],
            "checkpoint": None if found.signed is None else found.signed.note,
        }
    )


@routes.add("GET", "/v1/audit/consistency", answers={200: examples.CONSISTENCY}, headers=())
async def prove_consistency(
    request: Request,
    *,
    first: Annotated[int, Query(alias="from", ge=0, le=2**53, examples=[16])],
    second: Annotated[int, Query(alias="to", ge=0, le=2**53, examples=[4711])],
) -> Response:
    """Prove that the log has only grown.

    The hashes show that the tree of `to` events begins with that of `from` (RFC 6962).
    """
    proof = await notary_of(request).consistency(first, second)
    return reply({"from": first, "to": second, "proof": [_base64(hash) for hash in proof]})


@routes.add(
    "GET", "/v1/audit/entries", answers={200: {"entries": [examples.ENTRY], "next": None}}, headers=()
)
async def list_entries(
    request: Request,
    *,
    after: Annotated[int, Query(ge=0, le=2**53, description="Only positions above this.")] = 0,
    events: Annotated[bool, Query(description="With the events, and not their hashes alone.")] = False,
    limit: Limit = DEFAULT_PAGE,
) -> Response:
    """Read the log as a whole.

    For exports, of all namespaces: every event's position and leaf hash, computed from what the log holds now. `next`
    is the `after` to go on with.
    """
    rows = await notary_of(request).rows(after, limit)
    lines = [leaf_line(0, leaf_of(row), row, events=events) for row in rows]
    for line in lines:
        line.index = None
    return reply({"entries": lines, "next": str(rows[-1].position) if rows else None})


@routes.add(
    "GET", "/v1/instances/{instance_id}/evidence", answers={200: examples.EVIDENCE}, problems=(404, 409)
)
async def get_evidence(request: Request, instance_id: str) -> Response:
    """Get the evidence bundle of an instance.

    One signed HTML file that opens without Tenuto: history, definition, actors, proofs and checkpoint. `tenuto audit
    verify` checks it offline.
    """
    state = await state_of(request, instance_id)
    stream = f"definition/{state.namespace}/{state.definition}"
    page = await evidence_of(notary_of(request), instance_id, stream)
    name = "".join(character for character in instance_id if character.isalnum() or character in "-_")
    headers = {
        "Content-Disposition": f'attachment; filename="evidence-{name}.html"',
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(page, 200, headers, "text/html")


def _signed(signed: Signed) -> dict[str, Any]:
    return {
        "size": signed.checkpoint.size,
        "position": signed.position,
        "at": rfc3339(signed.at),
        "checkpoint": signed.note,
    }


def _base64(hash: bytes) -> str:
    return base64.b64encode(hash).decode()
