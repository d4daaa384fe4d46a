"""Signatures by the Standard Webhooks specification (v1: HMAC-SHA256), so that receivers verify with any library.

Signed is `<webhook-id>.<webhook-timestamp>.<body>`. The id is the same for every attempt, so that a receiver knows what
it has seen already; the timestamp is that of the attempt.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from datetime import datetime

from domain.errors import TenutoError

PREFIX = "whsec_"
LEAST_BYTES, MOST_BYTES = 24, 64
"""Of a secret, as the specification has them."""


class BadSecretError(TenutoError):
    """That is no secret of Standard Webhooks: write whsec_ and the base64 of 24 to 64 random bytes, or leave it out."""


def new_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def key_of(secret: str) -> bytes:
    """Raises BadSecretError."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise BadSecretError from None
    if not secret.startswith(PREFIX) or not LEAST_BYTES <= len(key) <= MOST_BYTES:
        raise BadSecretError
    return key


def signed(secret: str, id: str, at: datetime, body: bytes) -> dict[str, str]:
    """The three headers of one attempt."""
    timestamp = str(int(at.timestamp()))
    text = b".".join((id.encode(), timestamp.encode(), body))
    signature = base64.b64encode(hmac.digest(key_of(secret), text, hashlib.sha256)).decode()
    return {"webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": f"v1,{signature}"}
