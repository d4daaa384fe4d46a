"""`tenuto deploy`: send a definition and print what verification found, as compilers do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tenuto.cli.command import (
    CommandError,
    Json,
    Server,
    command,
    complain,
    connect,
    print_json,
    say,
)
from tenuto.surroundings import DEFAULT_SERVER


@command("tenuto deploy order.yaml --dry-run")
def deploy(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The definition, YAML or JSON.")],
    *,
    name: Annotated[str | None, typer.Option("--name", help="Its name, when the text does not say.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Verify only.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse unknown services, too.")] = False,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Deploy a definition from a file, after verifying it."""
    from tenuto.errors import TenutoApiError

    with connect(server) as client:
        try:
            view = client.deploy(file, name, dry_run=dry_run, strict=strict)
        except TenutoApiError as error:
            if as_json or not error.findings:
                raise
            _print_findings(file, error.findings)
            raise CommandError(f"{file} is refused: {_count(error.findings)}") from error
    if as_json:
        print_json(view)
        return
    _print_findings(file, view.get("findings") or [])
    done = "would be deployed" if dry_run else "is deployed"
    say(f"{view.get('name', file.stem)} version {view.get('version', '?')} {done}.")


def _print_findings(file: Path, findings: Any) -> None:
    """`file:line:col: severity code: message`, which editors and terminals can follow; on stderr."""
    for finding in findings:
        place = f"{file}:{finding.get('line', 1)}:{finding.get('column', 1)}"
        kind = f"{finding.get('severity', 'error')} {finding.get('code', '?')}"
        complain(f"{place}: {kind}: {finding.get('message', '')}")
        if finding.get("fix"):
            complain(f"    fix: {finding['fix']}")


def _count(findings: Any) -> str:
    """`2 errors`, the warnings beside them left out."""
    errors = sum(finding.get("severity", "error") == "error" for finding in findings)
    return "1 error" if errors == 1 else f"{errors} errors"
