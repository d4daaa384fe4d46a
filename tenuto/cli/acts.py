"""Commands that act on an instance as a person does: `signal`, `cancel`, `pause`, `retry`, … each with a reason."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tenuto.cli.command import (
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
from tenuto.cli.moving import forked
from tenuto.surroundings import DEFAULT_SERVER


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
        kept = answer.get("status") == "kept"
        say(f"Signal {name} is {'kept under' if kept else 'with'} {target}.")


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


@command("tenuto compensate 0-0199… --reason 'the bank is gone'")
def compensate(
    instance: Instance,
    *,
    reason: Reason,
    actor: Actor = None,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Undo what an instance did, then end it as after a failure."""
    _act(instance, "compensate", reason, actor, server, as_json=as_json)


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
    """Try the step that waits for you once more; an instance that has ended goes on as a new one."""
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


@command("tenuto give-up 0-0199… --reason 'the hotel is gone'", name="give-up")
def give_up(
    instance: Instance,
    *,
    reason: Reason,
    execution: Execution = None,
    actor: Actor = None,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Leave the undo that waits for you: its effect stands, the rollback goes on."""
    _act(instance, "give-up", reason, actor, server, as_json=as_json, execution=execution)


@command("tenuto fail 0-0199… --reason 'the bank will not take it'")
def fail(
    instance: Instance,
    *,
    reason: Reason,
    execution: Execution = None,
    actor: Actor = None,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Let the step that waits for you fail for good, with all that follows from a failure."""
    _act(instance, "fail", reason, actor, server, as_json=as_json, execution=execution)


@command("""tenuto data 0-0199… --data '{"shippingAddress": {"city": "Bologna"}}' --reason 'new address'""")
def data(
    instance: Instance,
    *,
    reason: Reason,
    data: Annotated[str, typer.Option("--data", "-d", help="JSON, @file.json, or - for stdin.")],
    actor: Actor = None,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Change an instance's data: merged into it, key by key at the top level."""
    _act(instance, "data", reason, actor, server, as_json=as_json, data=read_value(data, "--data"))


@command("tenuto acknowledge 0-0199… 'ship#1/failed' --reason 'the carrier knows'")
def acknowledge(
    instance: Instance,
    alert: Annotated[
        str, typer.Argument(metavar="ALERT", help="Its `alertId`, as AlertRaised in `tenuto events` has it.")
    ],
    *,
    reason: Reason,
    actor: Actor = None,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Say that somebody looks after an alert."""
    with connect(server, actor) as client:
        view = client.acknowledge(instance, alert, reason)
    if as_json:
        print_json(view)
    else:
        say(f"acknowledge: {alert} of {instance}.")


def _act(
    instance: str, act: str, reason: str, actor: str | None, server: str, *, as_json: bool, **fields: Any
) -> None:
    with connect(server, actor) as client:
        view = client.act(instance, act, reason, **fields)
    if as_json:
        print_json(view)
    elif view.get("id", instance) != instance:
        say(f"{act}: {forked(instance, view)}")
    else:
        say(f"{act}: {instance} is {view.get('status', 'as asked')}. See: tenuto show {instance}")
