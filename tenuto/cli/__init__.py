"""The command line. Only the entry is here; commands are in `app.py`, tables in `render.py`."""

from __future__ import annotations


def main() -> None:
    """The `tenuto` program. Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 not over yet (`--wait`)."""
    from tenuto.cli.app import app

    app(prog_name="tenuto")
