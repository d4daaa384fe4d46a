"""The evidence bundle of one instance: its events and its definitions with their proofs, made a page, and signed."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

from domain.errors import UnknownInstanceError
from domain.times import rfc3339
from notary.errors import HistoryTooLongError
from notary.ledger import Ranked
from notary.notary import Notary
from notary.timeline import page_of
from tenuto.audit.bundle import FORMAT, Content, Entry, signed, wanted_hashes

MAX_EVENTS = 10_000
MAX_DEFINITIONS = 10_000
"""Versions of a definition that are looked through."""


async def evidence_of(notary: Notary, instance: str, definition_stream: str) -> bytes:
    """The file, of what the log has now. Raises UnknownInstanceError, HistoryTooLongError, and what signing raises."""
    signer = await notary.signer()
    checkpoint, (events, deploys) = await notary.streams(
        (instance, MAX_EVENTS + 1), (definition_stream, MAX_DEFINITIONS)
    )
    if not events:
        raise UnknownInstanceError(instance_id=instance)
    if len(events) > MAX_EVENTS:
        raise HistoryTooLongError(instance_id=instance, count=f"more than {MAX_EVENTS}", limit=MAX_EVENTS)
    entries = _entries(events)
    hashes = set(wanted_hashes(entries))
    content = Content(
        format=FORMAT,
        origin=checkpoint.checkpoint.origin,
        key=str(signer.verifier),
        checkpoint=checkpoint.note,
        at=rfc3339(checkpoint.at),
        instance=_facts(entries),
        actors=sorted({str(said["actor"]) for entry in entries if (said := entry.said).get("actor")}),
        events=entries,
        definitions=[entry for entry in _entries(deploys) if entry.said.get("hash") in hashes],
    )
    return signed(page_of(content), signer)


def _entries(found: Iterable[tuple[Ranked, list[bytes]]]) -> list[Entry]:
    return [
        Entry(
            index=ranked.rank or 0,
            position=ranked.row.position,
            stream=ranked.row.stream,
            version=ranked.row.version,
            topic=ranked.row.topic or "",
            payload=(ranked.row.payload or b"").decode(),
            proof=[base64.b64encode(hash).decode() for hash in proof],
        )
        for ranked, proof in found
    ]


def _facts(entries: list[Entry]) -> dict[str, Any]:
    """What stands at the head of the page; all of it is from the events."""
    first = entries[0].said
    changes = [entry.said for entry in entries if entry.topic == "StatusChanged"]
    last = changes[-1] if changes else {}
    facts = {
        "id": entries[0].stream,
        "namespace": first.get("namespace"),
        "definition": f"{first.get('definition')} {first.get('version')}",
        "definition hash": first.get("definitionHash"),
        "correlation id": first.get("correlationId"),
        "started": first.get("at"),
        "status": last.get("to", "pending"),
        "outcome": last.get("outcome"),
        "events": len(entries),
    }
    return {name: value for name, value in facts.items() if value is not None}
