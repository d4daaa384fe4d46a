"""Options that choose instances: what `list`, `batch`, `what-if` and the overviews have in common."""

from __future__ import annotations

from typing import Annotated

import typer

Status = Annotated[list[str] | None, typer.Option("--status", help="Only in this status; repeatable.")]
Outcome = Annotated[list[str] | None, typer.Option("--outcome", help="Only with this outcome; repeatable.")]
Definition = Annotated[str | None, typer.Option("--definition", help="Only of this definition.")]
Version = Annotated[str | None, typer.Option("--version", help="Only of this version of it.")]
CorrelationId = Annotated[str | None, typer.Option("--correlation-id", help="Only with this correlation id.")]
WaitingFor = Annotated[
    list[str] | None,
    typer.Option("--waiting-for", help="signal, timer, child or manual_resolution; repeatable."),
]
Labels = Annotated[
    list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A label; repeatable.")
]
OlderThan = Annotated[
    str | None, typer.Option("--older-than", metavar="TIME", help="Created longer ago than this (7d).")
]
