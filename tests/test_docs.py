"""The pages that teach the language say what the code does: examples are read, tables compared with the models."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import domain.definition
import domain.steps
from domain.definition.fields import RESERVED, Model, RetryPolicy, Transition
from domain.definition.model import (
    DeadlineAnchor,
    DeadlineGoal,
    DeadlineModel,
    DefinitionModel,
    ErrorHandlerModel,
    SignalModel,
)
from domain.definition.parse import read_definition
from domain.durations import format_duration
from domain.expressions import compile_condition
from domain.expressions.values import FUNCTIONS
from domain.steps import KINDS
from domain.steps.compensate import CompensateModel
from domain.steps.decision import DecisionModel
from domain.steps.ending import ErrorModel, FailModel, SucceedModel
from domain.steps.map import MapModel
from domain.steps.parallel import ParallelModel
from domain.steps.scope import ScopeModel
from domain.steps.step import StepModel
from domain.steps.task import TaskModel
from domain.steps.wait import WaitModel
from domain.steps.workflow import WorkflowModel

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "docs/reference/language.md", *sorted((ROOT / "docs/how-to").glob("*.md"))]
LANGUAGE = PAGES[0].read_text()
YAML = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\| `(?P<field>[\w.]+)` \| [^|]+\| (?P<default>[^|]*)\|", re.MULTILINE)

# The section whose table lists the fields of these models. Fields of every step stand in their own section only.
SECTIONS: dict[str, tuple[type[Model], ...]] = {
    "Definition": (DefinitionModel,),
    "Every step": (StepModel,),
    "task": (TaskModel,),
    "decision": (DecisionModel, Transition),
    "wait": (WaitModel,),
    "parallel": (ScopeModel, ParallelModel),
    "map": (ScopeModel, MapModel),
    "workflow": (WorkflowModel,),
    "compensate": (CompensateModel,),
    "succeed": (SucceedModel,),
    "fail": (FailModel, ErrorModel),
    "Retry policies": (RetryPolicy,),
    "Error handlers": (ErrorHandlerModel,),
    "Signals": (SignalModel,),
    "Deadlines": (DeadlineModel, DeadlineAnchor, DeadlineGoal),
}


def examples() -> Iterator[tuple[str, str]]:
    """(page and name, text) of every definition that a page shows."""
    for page in PAGES:
        for block in YAML.findall(page.read_text()):
            if re.search(r"^steps:", block, re.MULTILINE):
                name = re.search(r"^name: (\S+)", block, re.MULTILINE)
                yield f"{page.name}-{name[1] if name else '?'}", block


def section(title: str) -> str:
    """The text under a heading, up to the next one of any level."""
    found = re.search(rf"^##+ {re.escape(title)}\n(.*?)(?=^##|\Z)", LANGUAGE, re.MULTILINE | re.DOTALL)
    assert found, f"no section {title!r}"
    return found[1]


def rows(title: str) -> dict[str, str]:
    """Field → default, of the tables of a section; a field of an inner object is written `outer.inner`."""
    return {row["field"].rpartition(".")[2]: row["default"] for row in ROW.finditer(section(title))}


def spelt(model: type[Model]) -> dict[str, str]:
    """The fields of a model: name → as it is written in a definition."""
    common = {} if model is StepModel else StepModel.model_fields
    kind = {"type"} if issubclass(model, StepModel) else set()
    return {
        name: field.alias or name
        for name, field in model.model_fields.items()
        if name not in {*common, *kind} or not issubclass(model, StepModel)
    }


def models_in(package: ModuleType) -> set[type[Model]]:
    found: set[type[Model]] = set()
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        values = vars(importlib.import_module(module.name)).values()
        found |= {value for value in values if isinstance(value, type) and issubclass(value, Model)}
    return found - {Model}


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in examples()])
def test_an_example_on_a_page_deploys_without_findings(text: str) -> None:
    assert read_definition(text).findings == []


def test_every_type_of_step_has_an_example() -> None:
    shown = "".join(text for _, text in examples())
    assert {kind for kind in KINDS if f"type: {kind}" in shown} == set(KINDS)


def test_every_type_of_step_is_named_where_the_types_are_listed() -> None:
    listed = next(line for line in section("Every step").splitlines() if line.startswith("| `type`"))
    assert set(re.findall(r"`(\w+)`", listed)) == {"type", *KINDS}


@pytest.mark.parametrize("title", SECTIONS)
def test_a_section_lists_exactly_the_fields_that_the_language_has(title: str) -> None:
    fields = {alias for model in SECTIONS[title] for alias in spelt(model).values()}
    if title == "Every step":
        fields.add("type")
    assert set(rows(title)) == fields


def test_every_model_of_the_language_has_its_section() -> None:
    documented = {model for models in SECTIONS.values() for model in models}
    assert models_in(domain.definition) | models_in(domain.steps) == documented


@pytest.mark.parametrize("title", SECTIONS)
def test_the_defaults_on_the_page_are_those_of_the_code(title: str) -> None:
    shown = rows(title)
    for model in SECTIONS[title]:
        for name, alias in spelt(model).items():
            field = model.model_fields[name]
            if field.is_required():
                # `after.step` is needed only inside `after`, which the page says there.
                assert "required" in shown[alias] or alias == "step", alias
            elif field.default not in (None, [], {}):
                assert shown[alias].strip("` ") in _spellings(field.default), alias


def _spellings(default: object) -> set[str]:
    if isinstance(default, bool):
        return {str(default).lower()}
    if isinstance(default, int):
        return {str(default), format_duration(default)}
    if isinstance(default, RetryPolicy):
        given = default.model_dump(by_alias=True, exclude_unset=True)
        return {", ".join(f"{name}: {value}" for name, value in given.items())}
    if isinstance(default, float):
        return {f"{default:g}"}
    return {str(default) or "empty"}


def test_every_function_and_every_reserved_name_is_on_the_page() -> None:
    functions = set(re.findall(r"`\{(\$\w+): ", section("Values")))
    assert functions == set(FUNCTIONS)
    names = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", section("What `$` holds"), re.MULTILINE)
    assert set(re.findall(r"\w+", "".join(names))) == set(RESERVED)


def test_the_conditions_that_surprise_behave_as_the_page_says() -> None:
    data = {"a": False, "n": "7"}
    said = section("Conditions")
    for condition, holds in {
        "$.a": True,
        "$.a == true": False,
        "$.missing == $.missingToo": True,
        "$.missing == null": False,
        "$.missing != 'x'": True,
        "$.n < 5": False,
        "$.n >= 5": False,
        "1 == 1.0": True,
        "true == 1": False,
        "'10' < '9'": True,
    }.items():
        assert f"`{condition}`" in said, condition
        assert compile_condition(condition)(data) is holds, condition
