"""Scene seven: the server and the worker are killed with -9 in the middle of fifty orders, and started again.

What must hold is checked against the services' own ledgers, which Tenuto cannot see: per order, the keys that the
services were called under are exactly those that its history implies; every key has one effect; and what was called
more often than that was called because a lease was lost, and no more often than leases were.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from typing import Any

from examples.order.scenes import DemoFailedError, Play

ORDERS = 50
IN_FLIGHT = 10
DELAY_MS = 400
UNTIL_IN_FLIGHT_SECONDS = 20.0
UNTIL_ENDED_SECONDS = 120.0

Json = dict[str, Any]


def survives_a_crash(play: Play) -> None:
    """7. kill -9 of the server and the worker, in the middle of 50 orders"""
    say = play.teller.line
    play.stage.start_services(delay_ms=DELAY_MS)
    orders = [_order(play, number) for number in range(ORDERS)]
    ids = [play.start(order) for order in orders]
    in_flight = _until_in_flight(play, set(ids))
    play.stage.kill("tenuto", "notifications")
    say(f"   {ORDERS} orders started; {in_flight} calls in flight at the kill; server and worker are gone")
    play.expect(in_flight >= IN_FLIGHT, f"at least {IN_FLIGHT} steps were in flight at the kill")

    began = time.monotonic()
    play.stage.start_server()
    play.stage.start_worker()
    say(f"   started again: serving after {time.monotonic() - began:.1f} s")
    views = [play.client.wait(instance_id, UNTIL_ENDED_SECONDS) for instance_id in ids]
    say(f"   all {ORDERS} orders have ended, {time.monotonic() - began:.1f} s after the restart")

    outcomes = Counter(view["outcome"] for view in views)
    say("   " + ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items())))
    play.expect(
        set(outcomes) == {"succeeded", "compensated", "failed"}, "each order ends as its input implies"
    )
    _check_ledgers(play, ids)


def _order(play: Play, number: int) -> Json:
    """Most go well; every tenth is undeliverable, and every tenth has a bad card."""
    if number % 10 == 3:
        return play.order(shippingAddress={"city": "Nowhere"})
    if number % 10 == 7:
        return play.order(paymentMethod="declined")
    return play.order()


def _until_in_flight(play: Play, ids: set[str]) -> int:
    """Waits for calls that a service has received, done and not yet answered."""
    give_up_at = time.monotonic() + UNTIL_IN_FLIGHT_SECONDS
    while time.monotonic() < give_up_at:
        calls = [call for call in play.stage.calls() if call["instance"] in ids]
        in_flight = sum(call["status"] is None for call in calls)
        begun = {call["instance"] for call in calls if call["step"] != "charge"}
        if in_flight >= IN_FLIGHT and len(begun) >= IN_FLIGHT:
            return in_flight
        time.sleep(0.01)
    raise DemoFailedError(f"never were {IN_FLIGHT} calls in flight at once")


def _check_ledgers(play: Play, ids: list[str]) -> None:
    calls: defaultdict[str, Counter[str]] = defaultdict(Counter)
    effects: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for call in play.stage.calls():
        calls[call["instance"]][call["key"]] += 1
    for effect in play.stage.effects():
        effects[effect["instance"]][effect["key"]] += 1
    lost_in_all = repeated_in_all = 0
    for instance_id in ids:
        events = play.events(instance_id)
        implied = {
            f"{instance_id}/{event['payload']['execution']}"
            for event in events
            if event["type"] == "StepStarted"
        }
        done = {
            f"{instance_id}/{event['payload']['execution']}"
            for event in events
            if event["type"] in {"StepCompleted", "Compensated"}
        }
        lost = sum(event["payload"].get("timeout") == "leaseLost" for event in events)
        seen = calls[instance_id]
        play.expect(set(seen) == implied, f"{instance_id}: the services saw exactly the keys of its history")
        play.expect(
            effects[instance_id] == Counter(done),
            f"{instance_id}: one effect for each step done, and no other",
        )
        play.expect(sum(seen.values()) - len(seen) <= lost, f"{instance_id}: no call without a lost lease")
        lost_in_all += lost
        repeated_in_all += sum(seen.values()) - len(seen)
    keys = sum(len(calls[instance_id]) for instance_id in ids)
    play.teller.line(
        f"   {keys} idempotency keys, one effect for each step that was done; "
        f"{lost_in_all} leases lost, {repeated_in_all} calls repeated because of it"
    )
