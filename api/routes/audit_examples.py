"""What the answers of `audit.py` look like, for the document. The tests compare them with real answers."""

from __future__ import annotations

from typing import Any

from api.routes.examples import AT, ID

HASH = "rmtK67dB3Z0nIGBcJTE2uCAnnN3RDRBtqNvbBcpXGx4="
ORIGIN = "tenuto/019360c2a1f17c3e9b0e5c7d8a4f2b61"
KEY = f"{ORIGIN}+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
NOTE = f"{ORIGIN}\n4711\n{HASH}\n\n— {ORIGIN} x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZI=\n"

STANDING: dict[str, Any] = {
    "origin": ORIGIN,
    "key": KEY,
    "size": 4711,
    "position": 4712,
    "exported": 4711,
    "problem": None,
}
SIGNED: dict[str, Any] = {"size": 4711, "position": 4712, "at": AT, "checkpoint": NOTE}
PROOF: dict[str, Any] = {
    "index": 16,
    "position": 17,
    "size": 4711,
    "leaf": HASH,
    "proof": [HASH, HASH],
    "checkpoint": NOTE,
}
CONSISTENCY: dict[str, Any] = {"from": 16, "to": 4711, "proof": [HASH, HASH]}
ENTRY: dict[str, Any] = {"position": 17, "leaf": HASH}
LOGGED: dict[str, Any] = {
    "position": 17,
    "namespace": "default",
    "kind": "act",
    "event": "Paused",
    "instanceId": ID,
    "definition": "order",
    "version": 7,
    "actor": "ada",
    "reason": "a look at the bank",
    "requestId": "r-17",
    "timestamp": AT,
    "detail": {},
}
EVIDENCE = "<!doctype html>…"
