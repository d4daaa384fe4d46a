"""Commands about webhooks: `webhooks list | show | add | remove | dead-letters | redeliver`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tenuto.cli.command import (
    Actor,
    Cursor,
    Json,
    Limit,
    Server,
    command,
    connect,
    family,
    print_json,
    read_pairs,
    say,
)
from tenuto.cli.instances import All, print_page
from tenuto.surroundings import DEFAULT_SERVER

if TYPE_CHECKING:
    from tenuto.wire import WebhookView

webhooks = family(
    "webhooks",
    "Have events posted to a URL of yours, and see what its receiver took.",
    "tenuto webhooks add crm https://crm.example/tenuto --topic workflow.state.changed",
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The webhook's name.")]
Because = Annotated[str | None, typer.Option("--reason", "-r", help="Why; kept in the log.")]


@command("tenuto webhooks list", name="list", of=webhooks)
def list_(*, server: Server = DEFAULT_SERVER, as_json: Json = False) -> None:
    """List webhooks, and how far each is."""
    from tenuto import webhooks as calls

    print_page("webhooks", calls.webhooks(), server, every=False, as_json=as_json)


@command("tenuto webhooks show crm", name="show", of=webhooks)
def show(name: Name, *, server: Server = DEFAULT_SERVER, as_json: Json = False) -> None:
    """Show a webhook: where it stands in the log, and what its receiver said last."""
    with connect(server) as client:
        view = client.webhook(name)
    if as_json:
        print_json(view)
    else:
        _tell(view)


@command(
    "tenuto webhooks add crm https://crm.example/tenuto --topic workflow.state.changed",
    name="add",
    of=webhooks,
)
def add(
    name: Name,
    url: Annotated[str, typer.Argument(metavar="URL", help="Where its events are posted to.")],
    *,
    topic: Annotated[
        list[str] | None, typer.Option("--topic", "-t", help="Only these events; repeatable.")
    ] = None,
    definition: Annotated[str | None, typer.Option("--definition", "-d", help="Only of this one.")] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", metavar="KEY=VALUE", help="All must match.")
    ] = None,
    secret: Annotated[
        str | None,
        typer.Option(
            "--secret",
            envvar="TENUTO_WEBHOOK_SECRET",
            help="What to sign with (`whsec_…`); one is made when you give none.",
        ),
    ] = None,
    reason: Because = None,
    actor: Actor = None,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Register a webhook, or change it: it is told of the events from now on. A new secret is shown this once."""
    with connect(server, actor) as client:
        view = client.register_webhook(
            name,
            url,
            topics=topic or [],
            definition=definition,
            labels=read_pairs(label, "--label"),
            secret=secret,
            reason=reason,
        )
    if as_json:
        print_json(view)
        return
    say(f"{name} is told of {_what(view)} after position {view['position']}, at {view['url']}.")
    if "secret" in view:
        say(f"Its secret, shown this once: {view['secret']}")


@command("tenuto webhooks remove crm --reason 'the CRM is gone'", name="remove", of=webhooks)
def remove(
    name: Name,
    *,
    reason: Because = None,
    actor: Actor = None,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Remove a webhook; its dead letters are forgotten."""
    with connect(server, actor) as client:
        answer = client.remove_webhook(name, reason=reason)
    if as_json:
        print_json(answer)
    else:
        say(f"{name} is told of nothing more.")


@command("tenuto webhooks dead-letters crm", name="dead-letters", of=webhooks)
def dead_letters(
    name: Name,
    *,
    limit: Limit = None,
    cursor: Cursor = None,
    every: All = False,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """List the events that a webhook was not told of, since its receiver refused them for good."""
    from tenuto import webhooks as calls

    call = calls.dead_letters(name, limit=limit, cursor=cursor)
    print_page("deadLetters", call, server, every=every, as_json=as_json)


@command("tenuto webhooks redeliver crm --position 4711", name="redeliver", of=webhooks)
def redeliver(
    name: Name,
    *,
    position: Annotated[
        int | None, typer.Option("--position", min=1, help="Only the one that stands there in the log.")
    ] = None,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Send dead letters again, in order, until one is refused: then the exit code is 1."""
    with connect(server) as client:
        done = client.redeliver(name, position=position)
        while position is None and done["error"] is None and done["delivered"] and done["remaining"]:
            more = client.redeliver(name)  # a hundred at a time
            done = {**more, "delivered": done["delivered"] + more["delivered"]}
    if as_json:
        print_json(done)
    else:
        refused = "" if done["error"] is None else f" The next one was refused again: {done['error']}."
        say(f"{done['delivered']} delivered, {done['remaining']} left.{refused}")
    if done["error"] is not None:
        raise typer.Exit(1)


def _what(view: WebhookView) -> str:
    topics = ", ".join(view["topics"]) or "every event"
    of = "" if view["definition"] is None else f" of {view['definition']}"
    labels = " ".join(f"{key}={value}" for key, value in (view["labels"] or {}).items())
    return topics + of + (f" with {labels}" if labels else "")


def _tell(view: WebhookView) -> None:
    say(f"{view['name']} is told of {_what(view)}, at {view['url']}.")
    say(f"Up to position {view['position']}, {view['lagEvents']} behind; {view['deadLetters']} dead letters.")
    if view["lastError"] is not None:
        from tenuto.cli.render import recovered

        again = view["nextAttemptAt"]
        later = "" if again is None else f"; attempt {view['attempts'] + 1} at {again}"
        later = (
            f"; it has taken others since, the last at {view['deliveredAt']}" if recovered(view) else later
        )
        say(f"Refused at {view['lastErrorAt']}: {view['lastError']}{later}.")
    if view["disabled"] is not None:
        say(f"Disabled: {view['disabled']}. `tenuto webhooks add` enables it again.")
