"""Commands for auditors: `audit log | key | checkpoint | export | verify | roles`, and `evidence`.

`audit verify` works on files alone; nothing of the server is imported or asked, unless it is named.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tenuto.cli.command import (
    CommandError,
    Cursor,
    Json,
    Limit,
    Server,
    command,
    complain,
    family,
    print_json,
    say,
)
from tenuto.cli.instances import All, print_page
from tenuto.surroundings import DEFAULT_SERVER

if TYPE_CHECKING:
    from tenuto.audit.bundle import BundleReport
    from tenuto.audit.note import Verifier
    from tenuto.audit.verifying import Report

audit = family(
    "audit",
    "Who did what, and what proves that nobody changed it since.",
    "tenuto audit verify export.jsonl --key tenuto/0193…+c74f20a3+ARpc…",
)

Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")]


@command("tenuto audit log --actor ada --kind act", name="log", of=audit)
def log(
    *,
    instance: Annotated[str | None, typer.Option("--instance", help="Of this instance.")] = None,
    definition: Annotated[str | None, typer.Option("--definition", help="Of instances of this one.")] = None,
    actor: Annotated[str | None, typer.Option("--actor", help="What this one did.")] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind", help="start, transition, act, signal, deploy, migration or webhook; repeatable."
        ),
    ] = None,
    request: Annotated[str | None, typer.Option("--request", help="What this request led to.")] = None,
    after: Annotated[str | None, typer.Option("--after", help="Since then (RFC 3339).")] = None,
    before: Annotated[str | None, typer.Option("--before", help="Until then (RFC 3339).")] = None,
    limit: Limit = None,
    cursor: Cursor = None,
    every: All = False,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Show who did what, when, why, and by which request; newest first."""
    from tenuto import calls

    asked = {
        "instance": instance,
        "definition": definition,
        "actor": actor,
        "kind": kind,
        "requestId": request,
        "after": after,
        "before": before,
        "limit": limit,
        "cursor": cursor,
    }
    call = calls.get("/v1/audit/log", calls.page, **asked)
    print_page("entries", call, server, every=every, as_json=as_json)


@command("tenuto audit key > tenuto.key", name="key", of=audit)
def key(*, server: Server = DEFAULT_SERVER, as_json: Json = False) -> None:
    """Print the public key that checkpoints and evidence are signed with."""
    from tenuto.audit.sources import ask

    standing = ask(server, "/v1/audit")
    if as_json:
        print_json(standing)
    else:
        say(standing["key"])


@command("tenuto audit checkpoint", name="checkpoint", of=audit)
def checkpoint(*, server: Server = DEFAULT_SERVER, as_json: Json = False) -> None:
    """Have a checkpoint signed and exported now."""
    from tenuto.audit.sources import ask

    signed = ask(server, "/v1/audit/checkpoints", method="POST")
    if as_json:
        print_json(signed)
    else:
        typer.echo(signed["checkpoint"], nl=False)


@command("tenuto audit export -o export.jsonl --events", name="export", of=audit)
def export(
    *,
    output: Output,
    events: Annotated[
        bool, typer.Option("--events", help="The events, too, and not their hashes alone.")
    ] = False,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Copy the log's leaf hashes and checkpoints to a file; go on where it ends, if it is there."""
    from tenuto.audit.copying import copy_log

    copied = copy_log(server, output, events=events)
    if as_json:
        print_json(copied._asdict())
    else:
        say(f"{output} holds {copied.size} events, {copied.added} of them new.")


@command(
    "tenuto audit verify export.jsonl --database-url postgresql://auditor@db/tenuto", name="verify", of=audit
)
def verify(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="An export, a file of checkpoints, evidence.")
    ],
    *,
    key: Annotated[
        str | None, typer.Option("--key", help="The public key, or the file that it stands in.")
    ] = None,
    database_url: Annotated[
        str | None, typer.Option("--database-url", metavar="DSN", help="Compare with the log in there, too.")
    ] = None,
    schema: Annotated[str, typer.Option("--schema", help="The log's schema in the database.")] = "tenuto_0",
    server: Annotated[
        str | None, typer.Option("--server", metavar="URL", help="Compare with what this server says, too.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check files offline, and a live log against them: any edit, deletion, insertion, fork or old backup shows."""
    verifier = _key(key)
    bundles, logs = _sorted(files)
    reports: list[BundleReport | Report] = [_evidence(path, verifier) for path in bundles]
    if logs or database_url or server:
        reports.append(_logs(logs, verifier, database_url, schema, server))
    if as_json:
        import msgspec

        print_json([msgspec.to_builtins(report) for report in reports])
    else:
        for report in reports:
            _tell(report)
        if verifier is None:
            complain(
                "The key is the one in the files: this shows that they are whole, not who made them (--key)."
            )
    if any(getattr(report, "difference", None) is not None for report in reports):
        raise typer.Exit(1)


@command("tenuto audit roles --app tenuto_app | psql", name="roles", of=audit)
def roles(
    *,
    name: Annotated[str, typer.Option("--app", help="The role that the server runs as.")] = "tenuto_app",
    schema: Annotated[str, typer.Option("--schema", help="The log's schema.")] = "tenuto_0",
    as_json: Json = False,
) -> None:
    """Print the SQL that makes a role which may add to the log, and never change it."""
    from tenuto.audit.roles import roles_sql

    text = roles_sql(name, log=schema)
    if as_json:
        print_json({"sql": text})
    else:
        typer.echo(text, nl=False)


@command("tenuto evidence 0-0199… -o evidence.html")
def evidence(
    instance: Annotated[str, typer.Argument(metavar="INSTANCE", help="The instance's id.")],
    *,
    output: Output,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Get one signed file about an instance: its history with proofs, as a page that opens anywhere."""
    from urllib.parse import quote

    from tenuto.audit.sources import answered

    page = answered(server, f"/v1/instances/{quote(instance, safe='')}/evidence").content
    output.write_bytes(page)
    if as_json:
        print_json({"file": str(output), "bytes": len(page)})
    else:
        say(f"{output} is the evidence of {instance}. Check it with: tenuto audit verify {output}")


def _key(text: str | None) -> Verifier | None:
    from tenuto.audit.note import Verifier

    if text is None:
        return None
    return Verifier.read(Path(text).read_text(encoding="utf-8") if Path(text).is_file() else text)


def _sorted(files: list[Path]) -> tuple[list[Path], dict[str, Path]]:
    """Evidence, and what is of the log as a whole, by its format."""
    from tenuto.audit.bundle import is_bundle
    from tenuto.audit.export import lines_of

    bundles: list[Path] = []
    logs: dict[str, Path] = {}
    for path in files:
        with path.open("rb") as file:
            start = file.read(64)
        if is_bundle(start):
            bundles.append(path)
            continue
        format = next(iter(lines_of(path)))[1].format or ""
        if format in logs:
            raise CommandError(f"{path} and {logs[format]} are both {format}; name one of each kind")
        logs[format] = path
    return bundles, logs


def _evidence(path: Path, verifier: Verifier | None) -> BundleReport:
    from tenuto.audit.bundle import verify_bundle

    return verify_bundle(path.read_bytes(), verifier)


def _logs(
    files: dict[str, Path], verifier: Verifier | None, dsn: str | None, schema: str, server: str | None
) -> Report:
    from tenuto.audit.export import CHECKPOINTS, EXPORT, lines_of
    from tenuto.audit.sources import rows_of_database, rows_of_server
    from tenuto.audit.verifying import Verification

    if not files:
        raise CommandError("name an export or a file of checkpoints: a log alone proves nothing")
    live = rows_of_database(dsn, schema) if dsn else rows_of_server(server) if server else None
    lines = {format: lines_of(path) for format, path in files.items()}
    return Verification(verifier=verifier, live=live).checked(lines.get(EXPORT), lines.get(CHECKPOINTS))


def _tell(report: Any) -> None:
    if not hasattr(report, "difference"):
        names = ", ".join(report.definitions)
        say(
            f"{report.instance}: {report.versions} events and {names}, all in the signed log {report.origin}."
        )
        return
    found = report.difference
    if found is not None:
        place = f"position {found.position} (leaf {found.index})"
        if found.position is None:
            place = (
                f"leaf {found.index}"
                if found.until == found.index + 1
                else f"leaves {found.index} to {found.until - 1}"
            )
        say(f"CHANGED: the first difference is at {place}: {found.what}; {found.said}.")
        say(f"Unchanged up to there: {report.size} events proved by {report.checkpoints} checkpoints.")
        return
    compared = f", {report.compared} compared with the live log" if report.compared else ""
    say(f"Unchanged: {report.size} events of {report.origin}, {report.checkpoints} checkpoints{compared}.")
    if report.uncovered:
        say(f"{report.uncovered} later events are covered by no checkpoint yet.")
