"""The `tenuto` program: importing a family of commands registers it, in the order `--help` shows them."""

from __future__ import annotations

import importlib

from tenuto.cli.command import app

__all__ = ["app"]

for _family in (
    "processes",
    "definitions",
    "instances",
    "overviews",
    "insight",
    "acts",
    "moving",
    "watching",
    "webhooks",
    "audit",
):
    importlib.import_module(f"tenuto.cli.{_family}")
