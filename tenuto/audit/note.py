"""Signed notes and checkpoints, as C2SP has them (signed-note, tlog-checkpoint), with Ed25519.

A note is text that ends in a newline, an empty line, and lines `— <name> <base64 of key id and signature>`. A
checkpoint is a note of three lines: origin, number of leaves, root in base64. The cryptography is a library's.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tenuto.audit.errors import BadNoteError, WrongKeyError
from tenuto.audit.tree import HASH_BYTES

ED25519 = b"\x01"
"""The byte that names the algorithm in a key (C2SP signed-note)."""
ID_BYTES = 4
DASH = "— "


class Verifier:
    """A public key under its name. Its text, `<name>+<id>+<key>`, is what C2SP's tools take."""

    def __init__(self, name: str, public: bytes) -> None:
        if not name or any(character.isspace() or character == "+" for character in name):
            raise BadNoteError(f"{name!r} cannot name a key: no spaces, no +")
        self.name = name
        self.public = public
        self._key = Ed25519PublicKey.from_public_bytes(public)

    @classmethod
    def read(cls, text: str) -> Self:
        """Raises BadNoteError."""
        name, _, rest = text.strip().partition("+")
        id, _, encoded = rest.partition("+")
        key = _decoded(encoded)
        if len(key) != 1 + HASH_BYTES or key[:1] != ED25519:
            raise BadNoteError("that is no key: <name>+<8 hex digits>+<base64 of an Ed25519 key> is one")
        verifier = cls(name, key[1:])
        if verifier.id.hex() != id:
            raise BadNoteError(f"the key of {name} does not have the id {id}")
        return verifier

    @property
    def id(self) -> bytes:
        return sha256(f"{self.name}\n".encode() + ED25519 + self.public).digest()[:ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(ED25519 + self.public).decode()}"

    def opened(self, note: str) -> str:
        """The text of a note that this key has signed. Raises BadNoteError, WrongKeyError."""
        text, signatures = _parts(note)
        for name, signature in signatures:
            if name == self.name and signature[:ID_BYTES] == self.id:
                try:
                    self._key.verify(signature[ID_BYTES:], text.encode())
                except InvalidSignature:
                    raise WrongKeyError(f"the signature of {name} does not fit what is signed") from None
                return text
        signed = ", ".join(f"{name}+{signature[:ID_BYTES].hex()}" for name, signature in signatures)
        raise WrongKeyError(f"not signed by {self.name}+{self.id.hex()}, but by {signed}")


class Signer:
    """A private key under its name."""

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.verifier = Verifier(name, key.public_key().public_bytes_raw())

    def sign(self, text: str) -> str:
        """The text, which ends in a newline, as a note."""
        signature = base64.b64encode(self.verifier.id + self._key.sign(text.encode())).decode()
        return f"{text}\n{DASH}{self.verifier.name} {signature}\n"


class Checkpoint(NamedTuple):
    """That the log `origin` had `size` events, and what the root over them was."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def read_checkpoint(text: str) -> Checkpoint:
    """From the text of a note; further lines are passed over, as the format asks. Raises BadNoteError."""
    origin, size, root = (*text.split("\n"), "", "", "")[:3]
    if not origin or not size.isascii() or not size.isdecimal() or (len(size) > 1 and size[0] == "0"):
        raise BadNoteError("that is no checkpoint: its lines are origin, size and root")
    decoded = _decoded(root)
    if len(decoded) != HASH_BYTES or len(size) > 18:
        raise BadNoteError("that is no checkpoint: its root is not 32 bytes, or its size no size")
    return Checkpoint(origin, int(size), decoded)


def _parts(note: str) -> tuple[str, Sequence[tuple[str, bytes]]]:
    head, blank, tail = note.rpartition("\n\n")
    if not blank or not tail.endswith("\n"):
        raise BadNoteError("that is no signed note: text, an empty line, and signatures are one")
    signatures = []
    for line in tail[:-1].split("\n"):
        name, _, encoded = line.removeprefix(DASH).partition(" ")
        signature = _decoded(encoded)
        if not line.startswith(DASH) or not name or len(signature) <= ID_BYTES:
            raise BadNoteError(f"{line[:100]!r} is no line of a signature")
        signatures.append((name, signature))
    return head + "\n", signatures


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
