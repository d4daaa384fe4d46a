"""Why two runs part, in words: which decision, which condition, on which data.

Only a history that does not go the same way comes here: its run is repeated up to the command in question, to see the
data as its conditions saw them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from domain import events as e
from domain.commands import Command, SendSignal, StartInstance
from domain.definition.program import Program
from domain.errors import TenutoError
from domain.events import Json
from domain.evolve import evolve
from domain.expressions import compile_value
from domain.instance import decide
from domain.state import Attempted, Waiting
from domain.turn import Turn
from domain.whatif.record import Told
from domain.whatif.rerun import Met, Rerun
from domain.whatif.route import Difference, Fact, step_of
from domain.whatif.verdict import Missing, Verdict

LONGEST_VALUE = 80
"""Characters of a value that is quoted."""

_PATH = re.compile(r"\$(?:\.[A-Za-z_][\w-]*|\['[^']*'\]|\[\d+\])+")


class Wording(NamedTuple):
    """A definition with the texts of its conditions: step → one for each of its transitions, None for the default."""

    program: Program
    conditions: Mapping[str, Sequence[str | None]]

    @classmethod
    def of(cls, tree: Mapping[str, Any], program: Program) -> Wording:
        """`tree` is the definition's document."""
        return cls(program, dict(_conditions(tree)))


def _conditions(node: Json) -> Sequence[tuple[str, list[str | None]]]:
    found: list[tuple[str, list[str | None]]] = []
    pending = [node]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            if isinstance(value.get("id"), str) and isinstance(value.get("next"), list):
                found.append((value["id"], [way.get("condition") for way in value["next"]]))
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
    return found


def verdict_of(rerun: Rerun, was: Wording, now_is: Wording) -> Verdict:
    """What became of a run that is over."""
    ended, recorded_end = rerun.end, rerun.record.end
    first = rerun.comparison.first
    common: dict[str, Any] = {
        "ends": None if ended is None else ended.outcome,
        "recorded_end": None if recorded_end is None else recorded_end.outcome,
        "changed_inputs": list(rerun.changed_inputs),
        "cut": rerun.cut,
    }
    if first is None:
        results = [None if end is None else end.result for end in (ended, recorded_end)]
        return Verdict(went="same", changed_result=results[0] != results[1], **common)
    missing = _missing(rerun)
    fact = first.now or (first.recorded.fact if first.recorded is not None else None)
    assert fact is not None
    never_ran = first.now is not None and _is_missing(first.now, rerun, missing)
    return Verdict(
        went="needsResult" if never_ran else "diverged",
        version=_version(first, rerun.met),
        step=None if fact.execution == "@instance" else step_of(fact.execution),
        execution=fact.execution,
        recorded=None if first.recorded is None else _said(first.recorded.fact),
        now=None if first.now is None else _said(first.now),
        why=_why(first, rerun, was, now_is, never_ran=never_ran),
        missing=missing,
        **common,
    )


def _missing(rerun: Rerun) -> list[Missing]:
    """What the new run stands still for, and the recorded one does not."""
    found: list[Missing] = []
    for execution, open in rerun.state.open.items():
        was = rerun.was.open.get(execution)
        match open:
            case Waiting(signal=str() as signal):
                if not isinstance(was, Waiting) or was.signal != signal:
                    found.append(Missing(execution=execution, signal=signal))
            case _ if isinstance(open, Attempted):
                same = isinstance(was, Attempted) and was.work.action == open.work.action
                if not same or (isinstance(was, Attempted) and was.attempt != open.attempt):
                    found.append(Missing(execution=execution, action=open.work.action, attempt=open.attempt))
    return found


def _is_missing(fact: Fact, rerun: Rerun, missing: Sequence[Missing]) -> bool:
    if fact.kind in ("step", "attempt"):
        return fact.execution in rerun.unanswered
    return fact.kind == "wait" and any(one.execution == fact.execution for one in missing)


def _version(first: Difference, met: Met | None) -> int | None:
    if met is not None and met.told is not None:
        return met.told.version
    return None if first.recorded is None else first.recorded.version


def _said(fact: Fact) -> str:
    match fact.kind:
        case "step":
            return f"{fact.execution} is handed out ({fact.detail.rpartition(' ')[0]})"
        case "attempt":
            action, _, number = fact.detail.rpartition(" ")
            return f"{fact.execution} is tried again, attempt {number} ({action})"
        case "decision":
            return f"{fact.execution} goes on to {fact.detail}"
        case "wait":
            return f"{fact.execution} waits for {fact.detail}"
        case "waited":
            return f"{fact.execution} has waited, ended by {fact.detail}"
        case "scope":
            return f"{fact.execution} opens {fact.detail} blocks"
        case "signal":
            return f"signal {fact.detail.partition(' ')[0]} is taken"
        case "rollback":
            return f"a rollback of {fact.detail or 'nothing'} begins"
        case _:
            return f"the instance ends as {fact.detail}"


def _why(first: Difference, rerun: Rerun, was: Wording, now_is: Wording, *, never_ran: bool) -> str:
    met = rerun.met
    if met is not None and met.refusal is not None:
        return f"the new definition refuses {_asked(met.command)}: {met.refusal}"
    if first.now is not None and first.now.kind == "decision" and met is not None:
        return _of_decision(first, first.now, rerun, met, was, now_is)
    after = "" if met is None else f" after {_stimulus(met)}"
    if never_ran and first.now is not None:
        return f"{_said(first.now)}{after}, and no result of it was ever recorded"
    if first.now is None:
        waits = ", ".join(one.execution for one in _missing(rerun))
        return f"the new run does not come to it{f': it waits for {waits}' if waits else ''}"
    if first.recorded is None:
        return f"the recorded run does not go on there{after}"
    return f"this is what follows{after} in the new definition"


def _asked(command: Command) -> str:
    match command:
        case StartInstance():
            return "the input"
        case SendSignal(name=name):
            return f"the signal {name}"
        case _:
            return type(command).__name__


def _stimulus(met: Met) -> str:
    if met.told is None:
        key = getattr(met.command, "execution", None) or getattr(met.command, "key", "")
        return f"{type(met.command).__name__} of {key}"
    event = met.told.events[0]
    execution = getattr(event, "execution", "")
    match event:
        case e.InstanceStarted():
            return "the start"
        case e.StepFailed(error=error):
            return f"{execution} failed with {error.type}"
        case e.SignalReceived(name=name):
            return f"the signal {name}"
        case _:
            return " of ".join(filter(None, [type(event).__name__, execution]))


def _of_decision(first: Difference, now: Fact, rerun: Rerun, met: Met, was: Wording, now_is: Wording) -> str:
    """The condition that held, and what it saw; and by which one the recorded run went."""
    before = Rerun(rerun.record, now_is.program, rerun.at, until=met.number)
    before.run()
    state = before.state
    decided: e.DecisionMade | None = None
    for event in decide(met.command, state, now_is.program):
        if isinstance(event, e.DecisionMade) and event.execution == now.execution:
            decided = event
            break
        evolve(state, event)
    assert decided is not None
    view = Turn(state, now_is.program, met.command).view(now.execution)
    texts = list(now_is.conditions.get(decided.step, ()))
    if decided.transition is not None:
        text = texts[decided.transition] or ""
        said = f"`{text}` holds{_data([text], view)}"
    else:
        tried = [text for text in texts if text is not None]
        quoted = " and ".join(f"`{text}`" for text in tried)
        said = (
            f"{quoted} {'do' if len(tried) > 1 else 'does'} not hold{_data(tried, view)}"
            if tried
            else "by default"
        )
    return said + _recorded_way(met.told, now.execution, was)


def _recorded_way(told: Told | None, execution: str, was: Wording) -> str:
    events = () if told is None else told.events
    made = next(
        (one for one in events if isinstance(one, e.DecisionMade) and one.execution == execution), None
    )
    if made is None:
        return ""
    texts = was.conditions.get(made.step, ())
    if made.transition is not None and made.transition < len(texts):
        return f"; recorded: `{texts[made.transition]}` held"
    tried = ", ".join(f"`{text}`" for text in texts if text is not None)
    return f"; recorded: the default, {tried} did not hold" if tried else "; recorded: the default"


def _data(conditions: Sequence[str], view: Mapping[str, Json]) -> str:
    """` ($.amount = 700)`: what the paths of the conditions found."""
    paths = dict.fromkeys(path for text in conditions for path in _PATH.findall(text))
    found = [f"{path} = {_value(path, view)}" for path in paths]
    return f" ({', '.join(found)})" if found else ""


def _value(path: str, view: Mapping[str, Json]) -> str:
    try:
        text = msgspec.json.encode(compile_value(path)(view)).decode()
    except TenutoError:
        return "absent"
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"
