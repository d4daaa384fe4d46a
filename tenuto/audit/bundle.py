"""Evidence of one instance: a page that opens without Tenuto, the same as JSON inside, and one signature of all.

    <page … <script type="application/json" id="evidence">{…}</script> …>
    <script type="application/json" id="signature">"<note>"</script>

The note signs the SHA-256 of every byte before the line of the signature, so neither page nor JSON can be changed. The
JSON has the events, each with its proof, the definitions, and the signed checkpoint that all proofs lead to.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Struct

from tenuto.audit.errors import BadBundleError, OtherLogError
from tenuto.audit.leaf import Row, leaf_of
from tenuto.audit.note import Checkpoint, Signer, Verifier, read_checkpoint
from tenuto.audit.tree import includes

FORMAT = "tenuto-evidence/1"
CONTENT = b'<script type="application/json" id="evidence">'
SIGNATURE = b'\n<script type="application/json" id="signature">'
CLOSED = b"</script>"

_canonical = msgspec.json.Encoder(order="deterministic")


class Entry(Struct, frozen=True, kw_only=True):
    """One event with its place in the tree and the hashes (base64) that lead to the root."""

    index: int
    position: int
    stream: str
    version: int
    topic: str
    payload: str
    proof: list[str]

    @property
    def row(self) -> Row:
        return Row(self.position, self.stream, self.version, self.topic, self.payload.encode())

    @property
    def said(self) -> dict[str, Any]:
        """The payload, read. Raises BadBundleError."""
        try:
            return msgspec.json.decode(self.payload, type=dict[str, Any])
        except msgspec.MsgspecError as error:
            raise BadBundleError(f"version {self.version} of {self.stream} is no JSON: {error}") from error


class Content(Struct, frozen=True, kw_only=True, rename="camel"):
    """What a bundle holds; `instance` and `actors` repeat what the events say, for people."""

    format: str
    origin: str
    key: str
    checkpoint: str
    at: str
    instance: dict[str, Any]
    actors: list[str]
    events: list[Entry]
    definitions: list[Entry]


class BundleReport(Struct, frozen=True, kw_only=True):
    """What a bundle proves: these versions of this instance, in the log of this origin and size."""

    instance: str
    versions: int
    definitions: list[str]
    origin: str
    key: str
    size: int


def embedded(content: Content) -> bytes:
    """The JSON for inside a page: nothing in it can end the element that it stands in."""
    text = msgspec.json.encode(content)
    for character in (b"<", b">", b"&"):
        text = text.replace(character, b"\\u%04x" % ord(character))
    return CONTENT + text + CLOSED


def signed(page: bytes, signer: Signer) -> bytes:
    note = signer.sign(_text(signer.verifier.name, page))
    return page + SIGNATURE + msgspec.json.encode(note) + CLOSED + b"\n"


def is_bundle(data: bytes) -> bool:
    """Whether it looks like one, whatever it proves."""
    return SIGNATURE in data or data.lstrip()[:9].lower() == b"<!doctype"


def verify_bundle(data: bytes, verifier: Verifier | None = None) -> BundleReport:
    """Checks everything that it claims. Without `verifier` the key inside is trusted, which proves that nothing was
    changed since, and not who made it. Raises BadBundleError, WrongKeyError, BadNoteError, OtherLogError."""
    page, found, rest = data.rpartition(SIGNATURE)
    if not found or not rest.endswith(CLOSED + b"\n"):
        raise BadBundleError("that is no evidence, or it was cut off: it does not end in a signature")
    content = _content(page)
    verifier = verifier or Verifier.read(content.key)
    try:
        note = msgspec.json.decode(rest[: -len(CLOSED) - 1], type=str)
    except msgspec.MsgspecError as error:
        raise BadBundleError(f"the signature is unreadable: {error}") from error
    if verifier.opened(note) != _text(content.origin, page):
        raise BadBundleError("it was changed after it was signed")
    checkpoint = read_checkpoint(verifier.opened(content.checkpoint))
    if checkpoint.origin != content.origin:
        raise OtherLogError(f"its checkpoint is of the log {checkpoint.origin}, not of {content.origin}")
    _check_events(content, checkpoint)
    _check_definitions(content, checkpoint)
    return BundleReport(
        instance=content.events[0].stream,
        versions=len(content.events),
        definitions=[
            f"{entry.said.get('name')} {entry.said.get('version')}" for entry in content.definitions
        ],
        origin=content.origin,
        key=str(verifier),
        size=checkpoint.size,
    )


def _content(page: bytes) -> Content:
    parts = page.split(CONTENT)
    if len(parts) != 2:
        raise BadBundleError("that is no evidence: it does not hold one record of events")
    try:
        content = msgspec.json.decode(parts[1].partition(CLOSED)[0], type=Content)
    except msgspec.MsgspecError as error:
        raise BadBundleError(f"its record is unreadable: {error}") from error
    if content.format != FORMAT:
        raise BadBundleError(f"this release does not know the format {content.format}")
    return content


def _check_events(content: Content, checkpoint: Checkpoint) -> None:
    if not content.events:
        raise BadBundleError("it holds no events")
    stream = content.events[0].stream
    last = -1
    for number, entry in enumerate(content.events, start=1):
        if entry.stream != stream or entry.version != number or entry.index <= last:
            raise BadBundleError(f"version {number} of {stream} is missing, or out of order")
        last = entry.index
        _check_proof(entry, checkpoint)
    if content.instance.get("id") != stream:
        raise BadBundleError(
            f"it says that it is of {content.instance.get('id')}, and its events are of {stream}"
        )


def _check_definitions(content: Content, checkpoint: Checkpoint) -> None:
    """Each is in the log, hashes to what it says, and is what the instance says it ran on."""
    hashes = set()
    for entry in content.definitions:
        _check_proof(entry, checkpoint)
        said = entry.said
        found = sha256(_canonical.encode(said.get("document"))).hexdigest()
        if found != said.get("hash"):
            raise BadBundleError(f"the definition {said.get('name')} does not have the hash that it names")
        hashes.add(found)
    for name in wanted_hashes(content.events):
        if name not in hashes:
            raise BadBundleError(
                f"the definition with the hash {name}, which the instance ran on, is not there"
            )


def wanted_hashes(events: Sequence[Entry]) -> list[str]:
    """The hashes of the definitions that an instance ran on, one after the other."""
    named = [
        entry.said.get({"InstanceStarted": "definitionHash", "Migrated": "toHash"}.get(entry.topic, ""))
        for entry in events
    ]
    return [hash for hash in named if isinstance(hash, str)]


def _check_proof(entry: Entry, checkpoint: Checkpoint) -> None:
    try:
        proof = [binascii.a2b_base64(hash, strict_mode=True) for hash in entry.proof]
    except binascii.Error as error:
        raise BadBundleError(
            f"the proof of version {entry.version} of {entry.stream} is unreadable"
        ) from error
    if not includes(checkpoint.root, checkpoint.size, entry.index, leaf_of(entry.row), proof):
        raise BadBundleError(
            f"version {entry.version} of {entry.stream} (position {entry.position}) is not in the log that is signed"
        )


def _text(origin: str, page: bytes) -> str:
    return f"{FORMAT}\n{origin}\n{base64.b64encode(sha256(page).digest()).decode()}\n"
