"""The signing key: a file of the server's own, made at its first use, never in the database.

PKCS #8 in PEM without a password, as `openssl genpkey -algorithm ed25519` writes it; only its owner may read it.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from notary.errors import KeyUnusableError


def signing_key(path: Path) -> Ed25519PrivateKey:
    """The key in the file, which is made when it is absent. Raises KeyUnusableError."""
    try:
        if not path.exists():
            _make(path)
        if stat.S_IMODE(path.stat().st_mode) & stat.S_IRWXO:
            raise KeyUnusableError(path=str(path), problem="everybody may read or write it; chmod 600 it")
        key = load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise KeyUnusableError(path=str(path), problem=error.strerror or str(error)) from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyUnusableError(
            path=str(path), problem="it holds no unencrypted private key in PEM"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyUnusableError(path=str(path), problem="it is no Ed25519 key")
    return key


def _make(path: Path) -> None:
    """Whole or not at all, and durably: a key that was used once must not be lost. The first of several makers wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    handle, unfinished = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)  # 0600
    with os.fdopen(handle, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(handle)
    try:
        os.link(unfinished, path)
    except FileExistsError:
        pass  # Another process was first: its key is the key.
    finally:
        Path(unfinished).unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
