"""A definition ready to run: every expression compiled, every step found by its id, every failure rule worked out.

Made once per definition version and kept. `decide` reads it; it holds no state of any instance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jsonschema_rs

from domain.definition.fields import DEFAULT_RETRY_POLICY, Json
from domain.definition.model import DeadlineModel, DefinitionModel, SignalModel
from domain.definition.rules import FailureRules, Handler
from domain.errors import SchemaMismatchError
from domain.expressions import compile_value
from domain.steps.step import Evaluate, Step, StepModel

Check = Callable[[Json, str], None]


@dataclass(frozen=True, slots=True)
class SignalRule:
    """What a signal does at definition level. `set` None: nothing is set."""

    cancels: bool
    set: dict[str, Evaluate] | None
    reason: Evaluate | None
    check: Check | None

    @property
    def acts(self) -> bool:
        return self.cancels or self.set is not None


@dataclass(frozen=True, slots=True)
class Program:
    """One definition version, compiled. Steps of all blocks are in `steps`, by id."""

    name: str
    version: str
    hash: str
    entry: str
    steps: dict[str, Step]
    timeout_ms: int | None
    on_timeout: str
    labels: dict[str, Evaluate]
    check_input: Check | None
    deadlines: dict[str, DeadlineModel]
    signals: dict[str, SignalRule]
    awaited: frozenset[str]  # Signals that some step waits for.
    results: dict[str, Evaluate]
    business_status: dict[str, str]
    uses: frozenset[str]  # The names that expressions read at the root.


@dataclass(frozen=True, slots=True)
class Compiler:
    """Compiles the steps of one block; `inside` gives the compiler of a nested one. They share `steps`."""

    definition: DefinitionModel
    steps: dict[str, Step] = field(default_factory=dict)
    scope: str = ""
    block: str = ""

    def inside(self, scope: str, block: str) -> Compiler:
        return replace(self, scope=scope, block=block)

    def compile_all(self, models: Sequence[StepModel]) -> None:
        for model in models:
            self.steps[model.id] = model.compile(self)

    def rules_of(self, model: Any) -> FailureRules:
        """The failure rules of a step; kinds without a field for a rule do not have it."""
        by_service = self.definition.retry_policies.get(getattr(model, "service_type", None) or "")
        policy = getattr(model, "retry_policy", None) or by_service or DEFAULT_RETRY_POLICY
        handlers = (
            Handler(None if "*" in rule.errors else frozenset(rule.errors), rule.next, rule.do)
            for rule in self.definition.error_handlers
            if rule.steps is None or model.id in rule.steps
        )
        return FailureRules(
            policy=policy,
            non_retryable=frozenset(policy.non_retryable_errors),
            fallback=getattr(model, "fallback", None),
            handlers=tuple(handlers),
            on_exhausted=getattr(model, "on_max_retries_exceeded", None),
            on_failure=self.definition.on_failure,
        )


def compile_definition(definition: DefinitionModel, version: str, hash: str) -> Program:
    """The program of a definition that has been verified."""
    compiler = Compiler(definition)
    compiler.compile_all(definition.steps)
    signals = {name: _signal_rule(definition.name, name, model) for name, model in definition.signals.items()}
    return Program(
        name=definition.name,
        version=version,
        hash=hash,
        entry=definition.steps[0].id,
        steps=compiler.steps,
        timeout_ms=definition.timeout,
        on_timeout=definition.on_timeout,
        labels={name: compile_value(value) for name, value in definition.labels.items()},
        check_input=schema_check(definition.name, definition.input_schema),
        deadlines=definition.deadlines,
        signals=signals,
        awaited=frozenset(filter(None, (getattr(step, "signal", None) for step in compiler.steps.values()))),
        results={outcome: compile_value(value) for outcome, value in definition.results.items()},
        business_status=definition.business_status,
        uses=_roots(definition.model_dump(mode="python", by_alias=True)),
    )


def _signal_rule(definition: str, name: str, model: SignalModel) -> SignalRule:
    return SignalRule(
        cancels=model.do == "cancel",
        set=None if model.set is None else {key: compile_value(value) for key, value in model.set.items()},
        reason=None if model.reason is None else compile_value(model.reason),
        check=schema_check(definition, model.payload_schema),
    )


def schema_check(definition: str, schema: dict[str, Json] | None) -> Check | None:
    """A check by JSON Schema. References to anything outside the schema are refused: nothing is fetched."""
    if schema is None:
        return None
    validator = jsonschema_rs.validator_for(schema, retriever=_refuse_to_fetch)

    def check(value: Json, subject: str) -> None:
        error = next(iter(validator.iter_errors(value)), None)
        if error is not None:
            path = "$" + "".join(
                f"[{part!r}]" if isinstance(part, int) else f".{part}" for part in error.instance_path
            )
            raise SchemaMismatchError(
                subject=subject, definition=definition, path=path, problem=error.message[:500]
            )

    return check


def _refuse_to_fetch(uri: str) -> Any:
    raise ValueError(f"a schema may only refer to itself, not to {uri}")


def _roots(template: Json) -> frozenset[str]:
    """The first names of every path that stands anywhere in the definition (too many do no harm)."""
    found: set[str] = set()
    pending = [template]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
        elif isinstance(value, str) and "$" in value:
            found.update(name for name in _RESERVED_BY_USE if name in value)
    return frozenset(found)


_RESERVED_BY_USE = ("instance", "now", "deadlines", "lastError", "compensation")
