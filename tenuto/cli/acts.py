"""Commands that act on an instance as a person does: `signal`, `cancel`, `terminate`, `pause`, … each with a
reason.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tenuto.cli.command import (
    DEFAULT_SERVER,
    Actor,
    Execution,
    Instance,
    Json,
    Reason,
    Server,
    command,
    connect,
    print_json,
    read_value,
    say,
)


@command("""tenuto signal 0-0199… approval --payload '{"decision": "approved"}'""")
def signal(
    target: Annotated[
        str, typer.Argument(metavar="INSTANCE", help="Its id, or with --by-key a correlation id.")
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="The signal's name.")],
    *,
    payload: Annotated[
        str | None, typer.Option("--payload", "-p", help="JSON, @file.json, or - for stdin.")
    ] = None,
    signal_id: Annotated[str | None, typer.Option("--id", help="The same id counts only once.")] = None,
    by_key: Annotated[
        bool, typer.Option("--by-key", help="Send it to whatever waits under this key.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="With --by-key: to all that match.")] = False,
    ttl: Annotated[
        str | None, typer.Option("--ttl", help="With --by-key: keep it so long when none does.")
    ] = None,
    actor: Actor = None,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Send a signal to an instance."""
    body = read_value(payload, "--payload")
    with connect(server, actor) as client:
        if by_key:
            answer = client.signal_by_key(name, target, body, signal_id=signal_id, all=every, ttl=ttl)
        else:
            answer = client.signal(target, name, body, signal_id=signal_id)
    if as_json:
        print_json(answer)
    else:
        say(f"Signal {name} is with {target}.")


@command("tenuto cancel 0-0199… --reason 'customer changed her mind'")
def cancel(
    instance: Instance,
    *,
    reason: Reason,
    actor: Actor = None,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """End an instance and undo what it did."""
    _act(instance, "cancel", reason, actor, server, as_json=as_json)


@command("tenuto terminate 0-0199… --reason 'wrong tenant'")
def terminate(
    instance: Instance,
    *,
    reason: Reason,
    actor: Actor = None,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """End an instance at once; what it did stays."""
    _act(instance, "terminate", reason, actor, server, as_json=as_json)


@command("tenuto pause 0-0199… --reason 'carrier is down'")
def pause(
    instance: Instance,
    *,
    reason: Reason,
    actor: Actor = None,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Dispatch nothing new for an instance; its timers run on."""
    _act(instance, "pause", reason, actor, server, as_json=as_json)


@command("tenuto resume 0-0199… --reason 'carrier is back'")
def resume(
    instance: Instance,
    *,
    reason: Reason,
    actor: Actor = None,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Go on after a pause."""
    _act(instance, "resume", reason, actor, server, as_json=as_json)


@command("tenuto retry 0-0199… --reason 'address corrected'")
def retry(
    instance: Instance,
    *,
    reason: Reason,
    execution: Execution = None,
    actor: Actor = None,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Try the step that waits for you once more."""
    _act(instance, "retry", reason, actor, server, as_json=as_json, execution=execution)


@command("tenuto skip 0-0199… --reason 'mailed by hand'")
def skip(
    instance: Instance,
    *,
    reason: Reason,
    execution: Execution = None,
    actor: Actor = None,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Go on without the step that waits for you."""
    _act(instance, "skip", reason, actor, server, as_json=as_json, execution=execution)


@command("""tenuto resolve 0-0199… --output '{"trackingNumber": "T1"}' --reason 'booked by phone'""")
def resolve(
    instance: Instance,
    *,
    reason: Reason,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="JSON, @file.json, or - for stdin.")
    ] = None,
    execution: Execution = None,
    actor: Actor = None,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Say what the step that waits for you should have answered."""
    value = read_value(output, "--output")
    _act(instance, "resolve", reason, actor, server, as_json=as_json, execution=execution, output=value)


def _act(
    instance: str, act: str, reason: str, actor: str | None, server: str, *, as_json: bool, **fields: Any
) -> None:
    with connect(server, actor) as client:
        view = client.act(instance, act, reason, **fields)
    if as_json:
        print_json(view)
    else:
        say(f"{act}: {instance} is {view.get('status', 'as asked')}. See: tenuto show {instance}")
