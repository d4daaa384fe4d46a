"""Notes and checkpoints are C2SP's: byte for byte, and nothing that was not signed is opened."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tenuto.audit.errors import AuditError, BadNoteError, WrongKeyError
from tenuto.audit.note import Checkpoint, Signer, Verifier, read_checkpoint

# C2SP signed-note's own example (and that of Go's sumdb/note).
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
ENIGMA = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


def signer(name: str = "tenuto/log", seed: int = 1) -> Signer:
    return Signer(name, Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))


def test_the_example_of_the_format_is_opened() -> None:
    verifier = Verifier.read(PETER)
    assert str(verifier) == PETER
    assert verifier.opened(ENIGMA).endswith("your problem is.\n")


def test_a_checkpoint_is_written_as_the_format_says() -> None:
    point = Checkpoint("tenuto/log", 7, bytes(32))
    key = signer()
    note = key.sign(point.text)
    text, empty, signature = note.rpartition("\n\n")
    assert text == f"tenuto/log\n7\n{base64.b64encode(bytes(32)).decode()}"
    assert empty == "\n\n"
    assert signature.startswith("— tenuto/log ")
    assert signature.endswith("\n")
    assert read_checkpoint(Verifier.read(str(key.verifier)).opened(note)) == point


@pytest.mark.parametrize("place", range(0, 40, 3))
def test_a_changed_note_is_refused(place: int) -> None:
    key = signer()
    note = key.sign(Checkpoint("tenuto/log", 7, bytes(32)).text)
    changed = note[:place] + ("x" if note[place] != "x" else "y") + note[place + 1 :]
    with pytest.raises(AuditError):
        key.verifier.opened(changed)


@pytest.mark.parametrize("other", [signer(seed=2), signer("another/log")])
def test_another_key_is_named(other: Signer) -> None:
    note = other.sign("text\n")
    with pytest.raises(WrongKeyError, match="not signed by"):
        signer().verifier.opened(note)


@pytest.mark.parametrize(
    "note", ["", "text", "text\n\n", "text\n\nsignature\n", "text\n\n— name\n", "text\n\n— a b\n"]
)
def test_what_is_no_note_is_refused(note: str) -> None:
    with pytest.raises(BadNoteError):
        signer().verifier.opened(note)


@pytest.mark.parametrize(
    "text",
    ["", "o\n", "o\n-1\nAAAA\n", "o\n01\n" + "A" * 43 + "=\n", "o\n1\nAAAA\n", "o\n٣\n" + "A" * 43 + "=\n"],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(BadNoteError):
        read_checkpoint(text)


@pytest.mark.parametrize("text", ["", "a", "a+b", "a+00000000+AAAA", PETER.replace("c74f", "c74e")])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(BadNoteError):
        Verifier.read(text)
