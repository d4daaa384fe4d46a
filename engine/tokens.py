"""Lease tokens: who holds which attempt, signed, so that a forged one is told from a stale one without looking it up.

`<mac>|<attempt>|<session>|<instance>|<execution>`, opaque to workers. The signature is BLAKE2b, keyed with the
shard's secret, of 80 bits; which token is current is decided by the instance's state alone.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import NamedTuple

from engine.errors import ForgedTokenError

_MAC_BYTES = 10
_PARTS = 5


class Lease(NamedTuple):
    """What a token says."""

    attempt: int
    session: str
    instance: str
    execution: str


class Tokens:
    """Mints and reads the tokens of one shard."""

    def __init__(self, secret: bytes) -> None:
        self._keyed = hashlib.blake2b(key=secret[: hashlib.blake2b.MAX_KEY_SIZE], digest_size=_MAC_BYTES)

    def mint(self, lease: Lease) -> str:
        text = f"{lease.attempt}|{lease.session}|{lease.instance}|{lease.execution}"
        return f"{self._mac(text)}|{text}"

    def read(self, token: str) -> Lease:
        """Raises ForgedTokenError for anything that `mint` did not make."""
        mac, _, text = token.partition("|")
        parts = token.split("|")
        if len(parts) != _PARTS or not hmac.compare_digest(_bytes(mac), self._mac(text).encode()):
            raise ForgedTokenError
        return Lease(int(parts[1]), parts[2], parts[3], parts[4])

    def _mac(self, text: str) -> str:
        keyed = self._keyed.copy()
        keyed.update(_bytes(text))
        return keyed.hexdigest()


def _bytes(text: str) -> bytes:
    """Of any text a caller may send, half a surrogate pair included."""
    return text.encode(errors="surrogatepass")


def session_of(token: str) -> str:
    """The session that a token of ours names."""
    return token.split("|")[2] if token.count("|") == _PARTS - 1 else ""
