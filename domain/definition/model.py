"""A workflow definition as it is written: the whole language, and nothing of how it is run.

Its source is YAML 1.2 or JSON (`domain/definition/document.py`), or the builders of `tenuto.workflow`. How it is
checked stands in `verify.py`, its compiled form in `program.py`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from domain.definition.fields import (
    MAX_STEPS,
    Condition,
    Duration,
    Identifier,
    Json,
    Model,
    Name,
    OnExhausted,
    RetryPolicy,
    Value,
    Version,
)
from domain.steps import AnyStep


class DeadlineAnchor(Model):
    """`start` of the instance, or the completion of a step."""

    step: Name


class DeadlineGoal(Model):
    step: Name


class DeadlineModel(Model):
    """A business deadline (S167): `reach.step` must have completed `within` this long `after` its anchor."""

    after: Literal["start"] | DeadlineAnchor
    within: Duration
    reach: DeadlineGoal
    escalate: list[Annotated[int, Field(ge=1, le=100)]] = []


class SignalModel(Model):
    """What a signal does whatever step is running; one that a step waits for goes there first."""

    payload_schema: dict[str, Json] | None = Field(default=None, alias="schema")
    set: dict[Name, Value] | None = None
    do: Literal["buffer", "cancel"] = "buffer"
    reason: Value = None


class ErrorHandlerModel(Model):
    """`errors` are error types, `*` any; `steps` (all when absent) the steps it is for. The first match wins."""

    errors: Annotated[list[str], Field(min_length=1)]
    steps: list[Name] | None = None
    next: Name | None = None
    do: OnExhausted | None = None

    @model_validator(mode="after")
    def _one_way(self) -> ErrorHandlerModel:
        if (self.next is None) == (self.do is None):
            raise ValueError("an error handler needs either `next` or `do`")
        return self


class DefinitionModel(Model):
    name: Identifier
    version: Version | None = None
    description: str | None = None
    timeout: Duration | None = None
    on_timeout: Literal["fail", "compensate"] = "fail"
    labels: dict[str, Value] = {}
    input_schema: dict[str, Json] | None = None
    retry_policies: dict[str, RetryPolicy] = {}
    deadlines: dict[Name, DeadlineModel] = {}
    signals: dict[Name, SignalModel] = {}
    error_handlers: list[ErrorHandlerModel] = []
    results: dict[str, Value] = {}
    business_status: dict[str, str] = {}
    on_failure: Literal["compensate", "fail"] = "compensate"
    steps: Annotated[list[AnyStep], Field(min_length=1, max_length=MAX_STEPS)]


__all__ = ["Condition", "DeadlineModel", "DefinitionModel", "ErrorHandlerModel", "SignalModel"]
