"""The demo: a real distributed saga on this machine, that runs, fails, compensates, survives kill -9 and explains it.

    tenuto demo            (or `make demo` on a machine with nothing but Python)

Starts Tenuto with its own PostgreSQL, three services and a worker (`stage.py`), deploys `order.yaml`, plays the scenes
(`scenes.py`, `crash.py`), and ends by asking one order what it knows. Exits with 0 only if all of it held.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from examples.order.crash import survives_a_crash
from examples.order.scenes import SCENES, DemoFailedError, Play
from examples.order.stage import Stage, StageError
from examples.order.telling import Teller, say
from tenuto import Client
from tenuto.errors import TenutoClientError

DEFINITION = Path(__file__).with_name("order.yaml")


def main(as_json: bool = False) -> int:
    """Plays the demo; with `as_json`, stdout has one JSON object with what was checked."""
    teller = Teller(as_json=as_json)
    began = time.monotonic()
    try:
        with Stage() as stage:
            play = _play(stage, teller)
    except (DemoFailedError, StageError, TenutoClientError) as failure:
        teller.line(f"\nThe demo failed: {failure}")
        if as_json:
            print(json.dumps({"ok": False, "failure": str(failure)}))
        return 1
    seconds = time.monotonic() - began
    teller.line(f"\nAll of it held: {play.checks} checks in {seconds:.0f} s.")
    if as_json:
        print(json.dumps({"ok": True, "checks": play.checks, "seconds": round(seconds, 1)}))
    return 0


def _play(stage: Stage, teller: Teller) -> Play:
    teller.title("Starting PostgreSQL, Tenuto, payments, inventory, shipping and a worker")
    began = time.monotonic()
    stage.start_services()
    stage.start_server()
    stage.start_worker()
    teller.line(f"   ready after {time.monotonic() - began:.1f} s at {stage.server}; logs in {stage.folder}")
    with Client(stage.server, actor="demo") as client:
        play = Play(stage, client, teller)
        deployed = client.deploy(DEFINITION)
        teller.line(f"   deployed {deployed['name']} version {deployed['version']}")
        for scene in SCENES:
            teller.title(_title(scene.__doc__))
            scene(play)
        for name in ("payments", "inventory", "shipping"):
            stage.stop(name)
        teller.title(_title(survives_a_crash.__doc__))
        survives_a_crash(play)
        _ask(play)
    return play


def _ask(play: Play) -> None:
    """What the history of one order can be asked: everything, at any time."""
    client, teller = play.client, play.teller
    page = client.list(outcome="compensated", limit=1)
    play.expect(len(page) == 1, "a query by outcome finds a compensated order")
    instance_id = page.items[0]["id"]
    events = play.events(instance_id)

    teller.title(f"The event log of {instance_id}: tenuto events {instance_id}")
    for event in events:
        teller.line(
            f"   {event['version']:3}  {event['type']:20} {say(event['type'], event['payload']) or ''}"[:150]
        )

    before = events[-1]["version"] - 3
    then = client.state(instance_id, version=before)
    teller.title(f"Its state three events ago: tenuto show {instance_id} --version {before}")
    teller.line(
        f"   status {then['status']}, undone so far: {_undone_by(events, before)}, version {then['version']}"
    )
    play.expect(then["status"] == "compensating", "three events ago it was still compensating")

    teller.title(f"Its transitions: tenuto transitions {instance_id}")
    transitions = list(client.transitions_all(instance_id))
    teller.table([["from", "to", "reason"], *([t["from"], t["to"], t["reason"]] for t in transitions)])
    play.expect(
        [t["to"] for t in transitions] == ["running", "compensating", "completed"], "all are on record"
    )

    teller.title("A query by status: tenuto list --status failed")
    failed = list(client.list_all(status="failed"))
    teller.line(
        f"   {len(failed)} orders failed, for example {failed[0]['id']} ({failed[0].get('correlationId')})"
    )
    play.expect(all(view["status"] == "failed" for view in failed), "the query finds those that failed")

    teller.title("The API, to try by hand")
    teller.line("   tenuto dev --deploy examples/order/order.yaml     then open http://127.0.0.1:8080/docs")


def _undone_by(events: list[dict[str, object]], version: int) -> str:
    undone = [
        event["payload"]["undoes"]  # type: ignore[index]
        for event in events
        if event["type"] == "Compensated" and int(str(event["version"])) <= version
    ]
    return ", ".join(map(str, undone)) or "nothing"


def _title(text: str | None) -> str:
    return (text or "").strip().splitlines()[0]


if __name__ == "__main__":
    sys.exit(main("--json" in sys.argv[1:]))
