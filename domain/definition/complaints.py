"""Why a document is no definition, in our words: pydantic's errors, one finding per place, with advice.

A place that allows several readings (a step's id or a list of transitions) gives pydantic one error for each; the one
that came furthest speaks, and if none came anywhere, they speak together. Knows nothing of what a definition means.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final, cast

from pydantic import BaseModel, ValidationError
from pydantic.alias_generators import to_camel

from domain.definition.document import Document, Path
from domain.definition.fields import RESERVED, RetryPolicy, Transition
from domain.definition.findings import Finding
from domain.definition.model import (
    DeadlineAnchor,
    DeadlineGoal,
    DeadlineModel,
    DefinitionModel,
    ErrorHandlerModel,
    SignalModel,
)
from domain.definition.places import as_written, value_at
from domain.definition.verification.report import Report, did_you_mean
from domain.durations import format_duration
from domain.errors import DurationError, ExpressionError, LimitExceededError
from domain.limits import MAX_DURATION_MS
from domain.steps import KINDS
from domain.steps.compensate import CompensateModel
from domain.steps.decision import DecisionModel
from domain.steps.ending import ErrorModel, FailModel, SucceedModel
from domain.steps.map import MapModel
from domain.steps.parallel import ParallelModel
from domain.steps.task import TaskModel
from domain.steps.wait import WaitModel
from domain.steps.workflow import WorkflowModel

_STEPS: Final[dict[str, type[BaseModel]]] = dict(
    zip(
        KINDS,
        (
            TaskModel,
            DecisionModel,
            ParallelModel,
            MapModel,
            WaitModel,
            WorkflowModel,
            CompensateModel,
            SucceedModel,
            FailModel,
        ),
        strict=True,
    )
)
# By the field that an object stands in; with True, one of several under that field.
_OBJECTS: Final[dict[tuple[str, bool], type[BaseModel]]] = {
    ("retryPolicies", True): RetryPolicy,
    ("retryPolicy", False): RetryPolicy,
    ("deadlines", True): DeadlineModel,
    ("after", False): DeadlineAnchor,
    ("reach", False): DeadlineGoal,
    ("signals", True): SignalModel,
    ("errorHandlers", True): ErrorHandlerModel,
    ("next", True): Transition,
    ("error", False): ErrorModel,
}
# What pydantic says of a value that is of the wrong type, in words.
_TYPES: Final = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "literal_error": "",
}
_WHAT_FIELDS_TAKE: Final = {
    "next": "the id of a step, or a list of {condition, next}",
    "join": "all, any or a number",
    "after": "start, or {step: the id of a step}",
    "reach": "{step: the id of a step}",
}
_PATTERNS: Final = {
    "action": "http:<service>/<path> or worker:<queue>/<activity>",
    "version": "1 to 64 letters, digits, `.`, `_`, `+` and `-`",
}
_FIELD_IN_TEXT: Final = re.compile(r"`([A-Za-z]+)`")

Problem = dict[str, Any]


def complaints(error: ValidationError, document: Document) -> list[Finding]:
    """Return what is wrong with a document that is no definition, in the order of the document."""
    report = Report(document)
    by_place: dict[tuple[Path, bool], list[Problem]] = {}
    for details in error.errors(include_url=False):
        problem: Problem = dict(details)
        place = _path_in(document.tree, problem["loc"])
        by_place.setdefault((place, problem["loc"][-1:] == ("[key]",)), []).append(problem)
    misnamed = {
        str(problems[0]["input"])
        for (path, is_key), problems in by_place.items()
        if _gives_a_name(path, is_key)
    }
    with_something_inside = {path[:length] for path, _ in by_place for length in range(len(path))}
    for (path, is_key), problems in by_place.items():
        mismatches = [problem for problem in problems if problem["type"] in _TYPES]
        others = [problem for problem in problems if problem["type"] not in _TYPES]
        for problem in others:
            if _gives_a_name(path, is_key) or not _refers_to(problem, misnamed):
                _say(problem, path, is_key, document, report)
        if mismatches and not others and path not in with_something_inside:
            _say_mismatch(mismatches, path, document, report)
    return report.findings()


def _gives_a_name(path: Path, is_key: bool) -> bool:
    return is_key or path[-1:] == ("id",)


def _refers_to(problem: Problem, misnamed: set[str]) -> bool:
    """Whether it says once more, of a reference to a step, what is said where the step got its name."""
    return isinstance(problem["input"], str) and problem["input"] in misnamed


def _path_in(tree: Any, location: Sequence[str | int]) -> Path:
    """The part of pydantic's location that exists in the document: it also names union members and missing fields."""
    path: list[str | int] = []
    node, tagged = tree, False
    for part in location:
        in_list = bool(path) and isinstance(path[-1], int)
        if in_list and not tagged and isinstance(node, dict) and part == node.get("type"):
            tagged = True  # The union's tag: the step's type.
            continue
        (key,) = as_written(node, (part,))
        inside = node if isinstance(node, dict | list) else {}
        exists = key in inside if isinstance(inside, dict) else isinstance(key, int) and key < len(inside)
        if exists:
            path.append(key)
            node, tagged = inside[key], False  # type: ignore[index]
    return tuple(path)


def _say(problem: Problem, path: Path, is_key: bool, document: Document, report: Report) -> None:
    match problem["type"]:
        case "union_tag_invalid":
            tag = value_at(document.tree, (*path, "type"))
            fix = did_you_mean(str(tag), KINDS)
            report.add(
                "unknown-step-type",
                f"there is no step type {tag!r}; there are {', '.join(KINDS)}",
                (*path, "type"),
                fix=fix,
            )
        case "union_tag_not_found":
            report.add(
                "missing-field", "a step needs a `type`", path, fix=f"add `type`: one of {', '.join(KINDS)}"
            )
        case "missing":
            field = problem["loc"][-1]
            report.add(
                "missing-field", f"{_named(path, document)} needs `{field}`", path, fix=f"add `{field}`"
            )
        case "extra_forbidden":
            _unknown_field(path, document, report)
        case "value_error":
            _refused(problem, path, is_key, document, report)
        case "string_pattern_mismatch":
            _malformed(problem, path, is_key, report)
        case "too_short" | "string_too_short":
            report.add(
                "bad-value", f"{_field(path)} cannot be empty", path, fix="add at least one", key=is_key
            )
        case "too_long" | "string_too_long":
            most = problem["ctx"]["max_length"]
            report.add(
                "bad-value",
                f"{_field(path)} has more than {most} {'characters' if 'string' in problem['type'] else 'items'}",
                path,
            )
        case "greater_than_equal" | "less_than_equal":
            least = "ge" in problem["ctx"]
            bound = problem["ctx"]["ge" if least else "le"]
            report.add(
                "bad-value",
                f"{_field(path)} is {'less' if least else 'more'} than {bound}",
                path,
                fix=f"write {bound} or {'more' if least else 'less'}",
            )
        case _:
            report.add("bad-value", f"{_field(path)} cannot be used: {problem['msg']}", path, key=is_key)


def _say_mismatch(problems: list[Problem], path: Path, document: Document, report: Report) -> None:
    """The value is of none of the types that the place takes."""
    value = value_at(document.tree, path)
    if path == ("version",) and type(value) in (int, float):
        written = _written_at(path, document)
        report.add(
            "version-not-text", f"the version {written} is a number, not text", path, fix=f'write "{written}"'
        )
        return
    if not path:
        report.add(
            "bad-value",
            f"a definition is an object with `name` and `steps`, not {_kind(document.tree)}",
            path,
        )
        return
    several = (
        _WHAT_FIELDS_TAKE.get(to_camel(str(path[-1]))) if len(problems) > 1 or _is_goal(problems[0]) else None
    )
    expected = several or " or ".join(map(_expected, problems))
    if path[-1] == "next" and several is None:
        expected = "a list of {condition, next}"
    words = re.findall(r"'(.*?)'", problems[0].get("ctx", {}).get("expected", ""))
    fix = did_you_mean(value, words) if isinstance(value, str) else None
    report.add(
        "bad-value",
        f"{_field(path)} takes {expected}, not {_kind(value)}",
        path,
        fix=fix or f"write {expected}",
    )


def _is_goal(problem: Problem) -> bool:
    return bool(problem.get("ctx", {}).get("class_name") == DeadlineGoal.__name__)


def _expected(problem: Problem) -> str:
    if problem["type"] == "literal_error":
        return str(problem["ctx"]["expected"]).replace("'", "")
    return _TYPES[problem["type"]]


def _unknown_field(path: Path, document: Document, report: Report) -> None:
    *above, field = path
    model = _model_at(tuple(above), document)
    known = _fields_of(model)
    kind = value_at(document.tree, (*above, "type")) if model in _STEPS.values() else None
    if to_camel(str(field)) in known:
        report.add(
            "unknown-field",
            f"`{field}` and `{to_camel(str(field))}` are the same field",
            path,
            key=True,
            fix="keep one of the two",
        )
        return
    fix = did_you_mean(to_camel(str(field)), known)
    owners = [name for name, step in _STEPS.items() if to_camel(str(field)) in _fields_of(step)]
    belongs = f"; it is a field of {' and '.join(owners)}" if kind is not None and owners else ""
    report.add(
        "unknown-field",
        f"{_named(tuple(above), document)} has no field `{field}`{belongs}",
        path,
        key=True,
        fix=fix,
    )


def _refused(problem: Problem, path: Path, is_key: bool, document: Document, report: Report) -> None:
    error = problem["ctx"]["error"]
    message, given = str(error), problem["input"]
    match error.__cause__:
        case ExpressionError(details=details):
            offset, inner = cast("tuple[int, Path]", (details["position"], details.get("path", ())))
            report.add("bad-expression", str(details["message"]).rstrip("."), (*path, *inner), offset=offset)
        case DurationError():
            report.add("bad-duration", f"{given!r} is no duration", path)
        case LimitExceededError():
            most = format_duration(MAX_DURATION_MS)
            report.add("bad-duration", f"{given!r} is longer than {most}", path, fix=f"write {most} or less")
        case _ if isinstance(given, str) and given in RESERVED:
            report.add("reserved-name", message, path, key=is_key)
        case _ if message.startswith("write a duration"):
            report.add("bad-duration", f"{_field(path)} takes a duration, not {_kind(given)}", path)
        case _ if message.startswith("join "):
            report.add("join-never-fires", message, (*path, "join"))
        case _ if message.startswith("`items` takes"):
            report.add("bad-value", message, (*path, "items"), fix="write a list, or a path to one")
        case _ if message.endswith(("inside a branch", "inside a map")):
            report.add("compensate-in-branch", message, (*path, *_compensate_in(given, message)), key=True)
        case _:
            blamed = _blamed(message, given)
            code, fix = ("bad-value", _excess(message)) if blamed else ("missing-field", "add one of them")
            report.add(code, message, (*path, *blamed), fix=fix, key=bool(blamed))


def _excess(message: str) -> str:
    return "keep only one of them" if "either" in message or "not both" in message else "remove it"


def _compensate_in(scope: Any, message: str) -> Path:
    """Where the step that a message begins with goes on, inside the blocks of a parallel step or a map."""
    blocks: list[tuple[Path, Any]] = [(("steps",), scope.get("steps", []))]
    blocks += [(("branches", name), steps) for name, steps in scope.get("branches", {}).items()]
    for path, steps in blocks:
        for number, step in enumerate(steps):
            if message.startswith(repr(step.get("id"))):
                return (*path, number, "next")
    return ()


def _blamed(message: str, given: Any) -> Path:
    """The last field that a message names and that is there."""
    fields = [
        field
        for field in _FIELD_IN_TEXT.findall(message)
        if value_at(given, as_written(given, (field,))) is not None
    ]
    return tuple(fields[-1:])


def _malformed(problem: Problem, path: Path, is_key: bool, report: Report) -> None:
    field = str(path[-1]) if path else ""
    if not is_key and field in _PATTERNS:
        report.add("bad-value", f"{problem['input']!r} is no {field}", path, fix=f"write {_PATTERNS[field]}")
    else:
        report.add("bad-name", f"{problem['input']!r} is no name", path, key=is_key)


def _model_at(path: Path, document: Document) -> type[BaseModel] | None:
    """The model of the object at `path`."""
    if not path:
        return DefinitionModel
    last = to_camel(path[-1]) if isinstance(path[-1], str) else None
    above = to_camel(str(path[-2])) if len(path) > 1 else ""
    if (above, True) in _OBJECTS:
        return _OBJECTS[above, True]
    if last is not None and (last, False) in _OBJECTS:
        return _OBJECTS[last, False]
    return _STEPS.get(str(value_at(document.tree, (*path, "type"))))


def _fields_of(model: type[BaseModel] | None) -> list[str]:
    return [] if model is None else [field.alias or name for name, field in model.model_fields.items()]


def _named(path: Path, document: Document) -> str:
    """The object at `path`, in words."""
    if not path:
        return "a definition"
    model = _model_at(path, document)
    for kind, step in _STEPS.items():
        if model is step:
            return f"a {kind} step"
    names: dict[type[BaseModel] | None, str] = {
        RetryPolicy: "a retry policy",
        DeadlineModel: "a deadline",
        SignalModel: "a signal",
        ErrorHandlerModel: "an error handler",
        Transition: "a transition",
    }
    return names.get(model, f"`{path[-1]}`")


def _field(path: Path) -> str:
    *above, last = path
    if isinstance(last, int):
        return f"item {last + 1} of `{above[-1]}`"
    return f"`{last}`"


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return "nothing" if value is None else json.dumps(value, ensure_ascii=False)[:80]


def _written_at(path: Path, document: Document) -> str:
    """A plain value as the author wrote it: 1.10 is not 1.1."""
    line, column = document.position(path)
    found = re.match(r"[^\s,}\]#]+", document.text.split("\n")[line - 1][column - 1 :])
    return found[0] if found else str(value_at(document.tree, path))
