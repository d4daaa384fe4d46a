"""How the demo tells what happens: one readable line per event, with the time since the order began."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, TextIO

Payload = Mapping[str, Any]
LONGEST = 90  # Characters of an output.


class Teller:
    """Writes the story to `out`; with `as_json` it goes to stderr, and stdout is kept for the summary."""

    def __init__(self, *, as_json: bool) -> None:
        self._out: TextIO = sys.stderr if as_json else sys.stdout
        self._bold = self._out.isatty()

    def title(self, text: str) -> None:
        self.line()
        self.line(f"\033[1m{text}\033[0m" if self._bold else text)

    def line(self, text: str = "") -> None:
        print(text, file=self._out, flush=True)

    def timeline(self, events: Iterable[Mapping[str, Any]]) -> None:
        began: datetime | None = None
        for event in events:
            at = datetime.fromisoformat(event["at"])
            began = began or at
            said = say(event["type"], event["payload"])
            if said is not None:
                self.line(f"   {(at - began).total_seconds():8.3f} s  {said}")

    def table(self, rows: list[list[str]]) -> None:
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self.line(("   " + "  ".join(cells)).rstrip())


def say(kind: str, payload: Payload) -> str | None:
    """One event in words; None for those that only the machine cares for."""
    words = WORDS.get(kind)
    return None if words is None else words(payload)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _failed(event: Payload) -> str:
    again = f", tried again at {event['retryAt'][11:23]}" if "retryAt" in event else ", for good"
    return f"{event['execution']} failed: {event['error']['type']}: {event['error']['message']}{again}"


def _waits(event: Payload) -> str:
    until = f" until {event['until'][11:19]}" if "until" in event else ""
    return f"{event['execution']} waits for {event.get('signal', 'its time')}{until}"


def _status(event: Payload) -> str:
    outcome = f" ({event['outcome']})" if "outcome" in event else ""
    return f"{event['from']} → {event['to']}{outcome}: {event['reason']}"


WORDS: dict[str, Callable[[Payload], str]] = {
    "InstanceStarted": lambda e: (
        f"order {e.get('correlationId', '')} started, {e['input'].get('amount')} to pay"
    ),
    "StatusChanged": _status,
    "StepStarted": lambda e: f"{e['execution']} taken by {e['worker']}, attempt {e['attempt']}",
    "StepCompleted": lambda e: f"{e['execution']} done: {_short(e.get('output'))}",
    "StepFailed": _failed,
    "DecisionMade": lambda e: f"{e['execution']} chose {e['next']}",
    "WaitStarted": _waits,
    "WaitEnded": lambda e: f"{e['execution']} is over, by {e['by']}",
    "SignalReceived": lambda e: f"signal {e['name']} received: {json.dumps(e.get('payload'))}",
    "CompensationStarted": lambda e: (
        f"undoing {', '.join(e['executions']) or 'nothing'}: {e.get('reason', '')}"
    ),
    "Compensated": lambda e: f"{e['undoes']} undone: {_short(e.get('output'))}",
    "AlertRaised": lambda e: f"ALERT {e['message']}",
}
