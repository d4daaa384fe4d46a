"""Every finding that reading and verifying a definition can give: its code, how grave it is, and how to mend it.

Codes are stable: they are for machines, and stand in docs/reference/findings.md, which a test compares with this.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple


class Kind(NamedTuple):
    """`fix` is the advice where the place itself suggests nothing better."""

    severity: Literal["error", "warning"]
    meaning: str
    fix: str


def _error(meaning: str, fix: str) -> Kind:
    return Kind("error", meaning, fix)


def _warning(meaning: str, fix: str) -> Kind:
    return Kind("warning", meaning, fix)


# Given by document.py: the text is not one that everybody reads alike.
READING: Final[dict[str, Kind]] = {
    "malformed-document": _error(
        "The text is neither YAML 1.2 nor JSON.", "correct it at the place that is named"
    ),
    "empty-document": _error("There is nothing in the text.", "write a definition: `name` and `steps`"),
    "several-documents": _error("The text holds more than one document.", "deploy each of them on its own"),
    "yaml-version": _error("The text says that it is not YAML 1.2.", "remove the %YAML line"),
    "alias": _error("An alias (`*name`) stands for text from elsewhere.", "write the value out"),
    "anchor": _error("An anchor (`&name`) has no use without aliases.", "remove it"),
    "tag": _error("A tag (`!name`) changes what a value is.", "remove it, and quote text"),
    "bad-number": _error("A number cannot be held by JSON.", "quote it if it is text"),
    "bad-character": _error("A text holds a NUL or half a surrogate pair.", "remove the character"),
    "key-not-text": _error("A key is a number, true, false or null.", "quote it"),
    "duplicate-key": _error("A key stands twice in one object.", "remove or rename one of the two"),
}

# Given by parse.py: the document is no definition.
FIELDS: Final[dict[str, Kind]] = {
    "unknown-step-type": _error("There is no such type of step.", "use one of the types of the language"),
    "unknown-field": _error("There is no such field here.", "remove it, or correct its name"),
    "missing-field": _error("A field that is needed is missing.", "add it"),
    "bad-value": _error("The value is not one that the field takes.", "write one that it takes"),
    "bad-name": _error(
        "A name of a step, an output or a signal is malformed.",
        "begin with a letter or _, go on with letters, digits, _ and -, at most 64 in all",
    ),
    "reserved-name": _error("The name already means something after `$.`.", "choose another name"),
    "version-not-text": _error("The version is a number: 1.10 would become 1.1.", "write it in quotes"),
    "bad-duration": _error(
        "A duration is malformed.", "write a number and one unit, for example 100ms, 30s, 5m, 1.5h, 2d"
    ),
    "bad-expression": _error("An expression cannot be read.", "correct it at the place that is named"),
    "bad-definition": _error("The definition cannot be made to run.", "correct what the message says"),
}

_TARGETS: Final[dict[str, Kind]] = {
    "duplicate-step": _error(
        "Two steps have the same id.", "rename one of them; ids count across all blocks"
    ),
    "unknown-step": _error("There is no step of this name.", "correct the name, or add the step"),
    "unknown-savepoint": _error(
        "No step sets this savepoint.", "correct the name, or give a step `savepoint`"
    ),
    "leaves-block": _error(
        "A step of a branch or a map goes on to one outside it: the join would wait for ever.",
        "go on inside it, or leave `next` out: the parallel step or the map goes on when enough of it has ended",
    ),
    "enters-block": _error(
        "A step goes on to one inside a branch or a map that it is not in.",
        "go on to the parallel step or the map itself, or move the step out of it",
    ),
    "undo-not-a-task": _error(
        "`compensateWith` names a step that is no task.", "name a task that undoes this one"
    ),
    "undoes-itself": _error("A step is named as its own undo.", "name another task"),
    "undo-step-goes-on": _error(
        "An undo step has a field that has no effect while undoing.",
        "remove the field; a failed undo is retried, then waits for an operator",
    ),
    "undo-step-reached": _warning(
        "A step that undoes another is also reached by the normal flow, where there is no `$.undo`.",
        "write two steps, one for each use",
    ),
    "nothing-to-undo": _warning(
        "`compensate.steps` names a step without `compensateWith`.", "give that step `compensateWith`"
    ),
    "savepoint-not-reached": _warning(
        "A step goes back to a savepoint that cannot have been reached: everything would be undone.",
        "name a savepoint that comes before it",
    ),
    "compensate-in-branch": _error(
        "A partial rollback inside a branch or a map would undo what the others did.",
        "move it behind the parallel step or the map, or leave `next` out to undo everything and end",
    ),
    "unknown-outcome": _error(
        "`results` names something that is no outcome.",
        "use succeeded, failed, compensated, cancelled, timed_out, terminated or compensation_failed",
    ),
    "unknown-status": _error(
        "`businessStatus` names something that is neither a status nor an outcome.",
        "use a status (pending, running, waiting, compensating, completed, failed) or an outcome",
    ),
    "unknown-service-type": _warning(
        "There is no retry policy for this service type, so the default one applies.",
        "add it to `retryPolicies`, or give the step its own `retryPolicy`",
    ),
    "unknown-child": _warning(
        "No definition of this name is deployed yet; until it is, the step fails.",
        "correct the name, or deploy it first",
    ),
    "cyclic-children": _error(
        "A workflow starts itself as a child, or one that starts it again.", "write the repetition as a loop"
    ),
    "unused-signal": _warning(
        "A signal is kept, but nothing ever uses it.",
        "give it `set` or `do: cancel`, or wait for it in a step",
    ),
    "shadowed-handler": _warning(
        "An error handler can never be the first that matches.", "move it up, or remove it"
    ),
    "bad-schema": _error("A schema is no valid JSON Schema.", "correct it at the place that is named"),
}

_FLOW: Final[dict[str, Kind]] = {
    "unreachable-step": _warning("No way leads to this step.", "lead a `next` to it, or remove it"),
    "no-end": _error("From here on the flow goes round for ever.", "lead one of the steps out of the circle"),
    "endless-loop": _error(
        "Steps lead back to where they began without anything to wait for.",
        "put a task or a wait into the circle",
    ),
    "decision-gap": _warning(
        "When no condition holds, the step fails: there is no default.", "end the list with {next: …}"
    ),
    "unreachable-transition": _warning(
        "A transition stands after the default.", "move the default to the end"
    ),
    "duplicate-condition": _warning(
        "The same condition stands twice; only the first can be taken.", "remove or correct one of the two"
    ),
    "covered-condition": _warning(
        "An earlier condition holds whenever this one does; only the first can be taken.",
        "put the narrower condition first, or remove one of the two",
    ),
    "join-never-fires": _error(
        "Fewer branches, or items, can end well than the join waits for.",
        "let more of them end well, or lower `join`",
    ),
    "on-timeout-without-for": _error(
        "`onTimeout` has no time to run out.", "add `for`, or remove `onTimeout`"
    ),
    "wait-without-timeout": _warning(
        "If the signal never comes, the step waits for ever.", "add `for`, and `onTimeout` to say what then"
    ),
}

_TIME: Final[dict[str, Kind]] = {
    "close-before-timeout": _error(
        "All attempts together have less time than one.", "raise `scheduleToClose` or lower `timeout`"
    ),
    "heartbeat-too-long": _error(
        "The attempt times out before a heartbeat can be missed.", "let `heartbeat` be shorter than `timeout`"
    ),
    "never-fires": _warning("A limit can never be reached.", "lower it, or remove it"),
    "attempts-exceed-close": _warning(
        "`scheduleToClose` ends before all attempts can be made.",
        "raise `scheduleToClose`, or lower `timeout` or `maxAttempts`",
    ),
    "attempts-exceed-timeout": _warning(
        "The workflow's timeout ends before all attempts can be made.",
        "raise the workflow's `timeout`, or lower the step's `timeout` or `maxAttempts`",
    ),
    "interval-above-max": _warning(
        "The first interval is already longer than `maxInterval`.", "raise `maxInterval`"
    ),
    "timeout-too-short": _error(
        "The waits on every way to an end take longer than the workflow's timeout.",
        "raise `timeout`, or shorten the waits",
    ),
    "deadline-too-short": _error(
        "The waits on every way to the goal take longer than the deadline.",
        "raise `within`, or shorten the waits",
    ),
    "deadline-out-of-reach": _error(
        "The goal cannot come after the anchor.", "name a step that comes after the anchor"
    ),
    "deadline-after-timeout": _warning(
        "The workflow times out before the deadline.", "lower `within`, or raise the workflow's `timeout`"
    ),
    "escalate-order": _warning(
        "Percentages are not ascending, or stand twice.", "write each once, the smallest first"
    ),
    "bad-priority": _error("There is no such priority.", "use high, normal or low"),
}

_DATA: Final[dict[str, Kind]] = {
    "unknown-data": _error("No step, signal or input provides this.", "correct the name"),
    "data-used-too-early": _error(
        "No step that provides this can come before.", "move the step, or use it later"
    ),
    "data-maybe-unset": _warning(
        "Some ways lead here on which this has not been set.", "write {$coalesce: [path, default]}"
    ),
    "data-of-an-item": _error(
        "What the steps of a map set is read outside: each item has its own.",
        "read what the map's `output` sets",
    ),
    "misplaced-name": _error("A reserved name is used where it does not exist.", "use it only in its place"),
    "bare-path-condition": _warning(
        "A path alone asks whether it exists: it holds for `false` as well.", "write path == true"
    ),
    "effect-without-undo": _warning(
        "A side effect would stand when a later step fails.",
        "add `compensateWith`, or `readOnly: true` if there is nothing to undo",
    ),
}

VERIFYING: Final[dict[str, Kind]] = _TARGETS | _FLOW | _TIME | _DATA
CODES: Final[dict[str, Kind]] = READING | FIELDS | VERIFYING
