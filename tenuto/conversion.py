"""Between a step's JSON and an activity's Python: input validated, output and errors made JSON text.

The annotation of the one parameter decides. NaN and the infinities are no JSON and are refused. pydantic is
imported when the first activity is bound, not before.
"""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Callable, Mapping
from typing import Any

from tenuto.activity import Activity
from tenuto.durations import to_text
from tenuto.errors import ActivityError

_UNCHECKED = (inspect.Parameter.empty, Any, object, dict)

Adapt = Callable[[Any], tuple[Any, ...]]


def arguments_of(activity: Activity[..., Any]) -> Adapt:
    """A function from a step's input to the activity's arguments.

    Raises TypeError for an activity with more than one required parameter. The function raises a
    non-retryable ActivityError `ActivityInputError` for input that does not fit: no later attempt would fare
    better.
    """
    parameters = [
        parameter
        for parameter in inspect.signature(activity.function).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    required = [parameter for parameter in parameters if parameter.default is parameter.empty]
    if len(required) > 1:
        raise TypeError(
            f"{activity!r} takes {len(required)} parameters; an activity takes none or one, its input"
        )
    if not parameters:
        return lambda _: ()
    annotation = _annotation(activity, parameters[0])
    if annotation in _UNCHECKED or typing.get_origin(annotation) is dict:
        return lambda value: (value,)
    return _validated(activity, annotation)


def _annotation(activity: Activity[..., Any], parameter: inspect.Parameter) -> Any:
    if not isinstance(parameter.annotation, str):
        return parameter.annotation
    try:
        return typing.get_type_hints(activity.function)[parameter.name]
    except NameError as error:
        raise TypeError(
            f"the annotations of {activity!r} cannot be read ({error}); its types belong at module level"
        ) from error


def _validated(activity: Activity[..., Any], annotation: Any) -> Adapt:
    from pydantic import TypeAdapter, ValidationError

    adapter: TypeAdapter[Any] = TypeAdapter(annotation)

    def validate(value: Any) -> tuple[Any, ...]:
        try:
            return (adapter.validate_python(value),)
        except ValidationError as error:
            problems = error.errors(include_url=False, include_context=False, include_input=False)
            first = problems[0]
            where = ".".join(map(str, first["loc"])) or "the input"
            raise ActivityError(
                "ActivityInputError",
                f"{activity.name}: {where}: {first['msg']}"
                + (f" (and {len(problems) - 1} more)" if problems[1:] else ""),
                retryable=False,
                details={"problems": [{"path": list(one["loc"]), "message": one["msg"]} for one in problems]},
            ) from error

    return validate


def output_text(value: Any) -> str:
    """The JSON text of an output. Models, dataclasses, dates and the like become what pydantic makes of them.

    Raises a non-retryable ActivityError `ActivityOutputError` for what JSON cannot hold: trying again would
    only repeat the effect.
    """
    try:
        return _dump(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ActivityError(
            "ActivityOutputError", f"the output is no JSON: {error}", retryable=False
        ) from error


def _dump(value: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except TypeError:  # something that is not plain data: let pydantic have it
        from pydantic_core import to_jsonable_python

        plain = to_jsonable_python(value, inf_nan_mode="constants")
        return json.dumps(plain, allow_nan=False, separators=(",", ":"))


def error_text(error: BaseException) -> str:
    """The wire's error object for whatever an activity raised. Unknown errors are retryable (S131)."""
    if not isinstance(error, ActivityError):
        return json.dumps({"type": type(error).__name__, "message": str(error), "retryable": True})
    body: dict[str, Any] = {"type": error.type, "message": error.message, "retryable": error.retryable}
    if error.retry_after is not None:
        body["retryAfter"] = to_text(error.retry_after)
    if error.details is not None:
        body["details"] = _details(error.details)
    return json.dumps(body, allow_nan=False)


def _details(details: Mapping[str, Any]) -> Any:
    """Details never hide the error they belong to: what JSON cannot hold is told as text."""
    try:
        return json.loads(_dump(dict(details)))
    except (TypeError, ValueError, RecursionError):
        return {"text": repr(details)}
