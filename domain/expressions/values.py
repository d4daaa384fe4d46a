"""Value templates: JSON with paths and a few functions in it, for inputs, outputs and timeouts.

Text that starts with `$` is a singular query (`$$` writes a plain `$`), an object whose one key starts with
`$` is a function, everything else is literal. No loops and no code: a template costs what it is long.

Results share structure with the template and the scope: whoever receives one must not change it in place.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, Final, NamedTuple, TypeVar

from domain.durations import parse_duration
from domain.errors import DurationError, ExpressionError, LimitExceededError, MappingError
from domain.expressions.comparisons import is_number
from domain.expressions.conditions import Scope, compile_condition
from domain.expressions.parsing import parse_query
from domain.expressions.paths import MISSING, Getter, Key, root_getter
from domain.expressions.queries import keys_of
from domain.expressions.size import bounded, joined
from domain.limits import MAX_DEPTH, MAX_INTEGER, MIN_INTEGER

Value = Callable[[Scope], Any]
Path = tuple[Key, ...]
T = TypeVar("T")


class OperandError(MappingError):
    """{function} takes {expected}, but was given {actual}."""


class Constant(NamedTuple):
    """A part of a template without any expression in it."""

    value: Any


Part = Constant | Value
Function = Callable[[Any, Path], Part]


def compile_value(template: Any) -> Value:
    """Compile a JSON template to a function from the data to JSON.

    Raises ExpressionError, whose detail `path` is the place inside the template. The function raises
    MappingError for a path that leads nowhere (unless inside `$coalesce`), its subclass OperandError for an
    operand of the wrong type, and LimitExceededError for a result beyond its bounds (`size.py`). The template is
    copied; the result is shared: do not change it in place.
    """
    part = _compile(deepcopy(template), ())
    if isinstance(part, Constant) or is_path(template):
        return _as_value(part)  # As it is written, or as it came in: both have bounds of their own.
    return lambda scope: bounded(part(scope))


def function_of(template: Any) -> str | None:
    """Return the name of the function a template is a call of, such as `$max`; None for anything else."""
    if isinstance(template, dict) and len(template) == 1:
        (key,) = template
        return key if isinstance(key, str) and key.startswith("$") else None
    return None


def is_path(template: Any) -> bool:
    """Whether a template is text that stands for a path into the data."""
    return isinstance(template, str) and template.startswith("$") and not template.startswith("$$")


def parse_path(text: str) -> Path:
    """Return the names and indices of a singular query that starts at `$`. Raises ExpressionError."""
    try:
        query, source = parse_query(text)
    except ExpressionError as error:
        hint = f"; write ${text} for text that starts with a dollar sign"
        raise ExpressionError(**error.details | {"message": f"{error.details['message']}{hint}"}) from error
    keys = keys_of(query)
    if keys is None:
        raise source.refusal("a value comes from one place: only names and indices can follow $")
    return keys


def _compile(template: Any, at: Path) -> Part:
    if len(at) > MAX_DEPTH:
        raise _refusal(f"the template is nested more than {MAX_DEPTH} levels deep", "…", at)
    if isinstance(template, str):
        return _text(template, at)
    if isinstance(template, list):
        return _list([_compile(item, (*at, index)) for index, item in enumerate(template)])
    if not isinstance(template, dict):
        return Constant(template)
    name = function_of(template)
    if name is None:
        return _object({key: _compile(item, (*at, key)) for key, item in template.items()})
    if name not in FUNCTIONS:
        known = ", ".join(FUNCTIONS)
        raise _refusal(
            f"unknown function {name}; there are {known} ($literal keeps anything as it is)", template, at
        )
    return FUNCTIONS[name](template[name], (*at, name))


def _text(text: str, at: Path) -> Part:
    if not is_path(text):
        return Constant(text.removeprefix("$"))
    get = _path_getter(text, at)

    def required(scope: Scope) -> Any:
        value = get(scope)
        if value is MISSING:
            raise MappingError(path=text)
        return value

    return required


def _path_getter(text: str, at: Path) -> Getter:
    return root_getter(_within(at, parse_path, text))


def _list(parts: list[Part]) -> Part:
    constants = [part.value for part in parts if isinstance(part, Constant)]
    if len(constants) == len(parts):
        return Constant(constants)
    values = [_as_value(part) for part in parts]
    return lambda scope: [value(scope) for value in values]


def _object(parts: dict[str, Part]) -> Part:
    fixed = {key: part.value if isinstance(part, Constant) else None for key, part in parts.items()}
    moving = [(key, part) for key, part in parts.items() if not isinstance(part, Constant)]
    if not moving:
        return Constant(fixed)

    def build(scope: Scope) -> dict[str, Any]:
        result = fixed.copy()
        for key, value in moving:
            result[key] = value(scope)
        return result

    return build


def _as_value(part: Part) -> Value:
    if not isinstance(part, Constant):
        return part
    constant = part.value
    return lambda scope: constant


# Functions. Each takes its argument and its place and returns a part; constant operands are computed at once.


def _if(argument: Any, at: Path) -> Part:
    if not (isinstance(argument, list) and len(argument) == 3 and isinstance(argument[0], str)):
        raise _refusal("$if takes a list of three: a condition as text, and the two values", argument, at)
    condition = _within((*at, 0), compile_condition, argument[0])
    then, otherwise = (_as_value(_compile(argument[index], (*at, index))) for index in (1, 2))
    return lambda scope: then(scope) if condition(scope) else otherwise(scope)


def _coalesce(argument: Any, at: Path) -> Part:
    attempts = [_attempt(item, (*at, index)) for index, item in enumerate(_arguments(argument, at))]

    def coalesce(scope: Scope) -> Any:
        for attempt in attempts:
            value = attempt(scope)
            if value is not MISSING and value is not None:
                return value
        return None

    return coalesce


def _attempt(template: Any, at: Path) -> Value:
    """Compile an argument of `$coalesce`: MISSING where the template alone would raise MappingError."""
    if is_path(template):
        return _path_getter(template, at)
    value = _as_value(_compile(template, at))

    def attempt(scope: Scope) -> Any:
        try:
            return value(scope)
        except OperandError:
            raise
        except MappingError:
            return MISSING

    return attempt


def _applied(apply: Callable[[list[Any]], Any], *, count: int | None = None) -> Function:
    """Return the function that applies `apply` to a list of operands, exactly `count` of them if given."""

    def compile_call(argument: Any, at: Path) -> Part:
        items = _arguments(argument, at)
        if count is not None and len(items) != count:
            raise _refusal(f"{at[-1]} takes a list of {count}", argument, at)
        operands = _list([_compile(item, (*at, index)) for index, item in enumerate(items)])
        return _then(operands, apply, argument, at)

    return compile_call


def _applied_to_one(apply: Callable[[Any], Any]) -> Function:
    return lambda argument, at: _then(_compile(argument, at), apply, argument, at)


def _then(operand: Part, apply: Callable[[Any], Any], argument: Any, at: Path) -> Part:
    if not isinstance(operand, Constant):
        return lambda scope: apply(operand(scope))
    try:
        return Constant(apply(operand.value))
    except (OperandError, LimitExceededError) as error:
        raise _refusal(str(error), argument, at) from error


def _arithmetic(name: str, combine: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
    def apply(operands: list[Any]) -> int | float:
        for operand in operands:
            if not is_number(operand):
                raise OperandError(function=name, expected="numbers", actual=described(operand))
        try:
            result: int | float = combine(operands)
        except OverflowError:
            result = math.inf
        in_range = MIN_INTEGER <= result <= MAX_INTEGER if type(result) is int else math.isfinite(result)
        if not in_range:
            given = ", ".join(map(str, operands))
            raise OperandError(function=name, expected="numbers whose result JSON can hold", actual=given)
        return result

    return apply


def _concat(operands: list[Any]) -> str:
    for operand in operands:
        if not (is_number(operand) or isinstance(operand, str)):
            raise OperandError(function="$concat", expected="text and numbers", actual=described(operand))
    return joined([str(operand) for operand in operands])


def _length(operand: Any) -> int:
    if not isinstance(operand, str | list | dict):
        actual = described(operand)
        raise OperandError(function="$length", expected="text, a list or an object", actual=actual)
    return len(operand)


def _milliseconds(operand: Any) -> int:
    try:
        return parse_duration(operand)
    except (DurationError, LimitExceededError) as error:
        actual = described(operand)
        raise OperandError(function="$ms", expected="a duration such as 30m", actual=actual) from error


FUNCTIONS: Final[Mapping[str, Function]] = {
    "$if": _if,
    "$coalesce": _coalesce,
    "$max": _applied(_arithmetic("$max", max)),
    "$min": _applied(_arithmetic("$min", min)),
    "$add": _applied(_arithmetic("$add", sum)),
    "$subtract": _applied(_arithmetic("$subtract", lambda pair: pair[0] - pair[1]), count=2),
    "$multiply": _applied(_arithmetic("$multiply", math.prod)),
    "$ms": _applied_to_one(_milliseconds),
    "$concat": _applied(_concat),
    "$length": _applied_to_one(_length),
    "$literal": lambda argument, at: Constant(argument),
}


def _arguments(argument: Any, at: Path) -> list[Any]:
    if not isinstance(argument, list) or not argument:
        raise _refusal(f"{at[-1]} takes a list of at least one value", argument, at)
    return argument


def described(value: Any) -> str:
    """Name a value without repeating it whole: it may be long, and it may be secret."""
    if value is None or isinstance(value, bool) or is_number(value):
        return json.dumps(value)
    return "text" if isinstance(value, str) else "a list" if isinstance(value, list) else "an object"


def _within(at: Path, compile_text: Callable[[str], T], text: str) -> T:
    """Compile the text at one place of a template; an error says the place as well."""
    try:
        return compile_text(text)
    except ExpressionError as error:
        raise ExpressionError(**error.details | {"path": at}) from error


def _refusal(message: str, template: Any, at: Path) -> ExpressionError:
    shown = template if isinstance(template, str) else json.dumps(template, ensure_ascii=False, default=str)
    return ExpressionError(message=message, position=0, expression=shown[:80], path=at)
