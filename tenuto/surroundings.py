"""What a client takes from its environment when it is not told: which server to ask, and who acts.

Imports nothing, so that the command line can know the default without loading a client.
"""

from __future__ import annotations

import os

DEFAULT_SERVER = "http://127.0.0.1:8080"


def chosen_server(given: str | None) -> str:
    """The URL given, else `TENUTO_SERVER`, else a server on this machine; without a slash at its end."""
    return (given or os.environ.get("TENUTO_SERVER") or DEFAULT_SERVER).rstrip("/")


def chosen_actor(given: str | None) -> str | None:
    """The actor given, else `TENUTO_ACTOR`, else nobody: the server then says `anonymous`."""
    return given or os.environ.get("TENUTO_ACTOR") or None
