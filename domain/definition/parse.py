"""From the text of a definition to one that can be deployed, or to every finding at its line and column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct
from pydantic import ValidationError

from domain.definition.document import Document, read_document
from domain.definition.findings import Finding, refusal
from domain.definition.model import DefinitionModel
from domain.definition.program import Program, compile_definition
from domain.definition.verify import verify
from domain.digest import digest
from domain.errors import TenutoError


class Deployable(Struct, frozen=True):
    """A definition without errors. `hash` is of its content: the same text, differently laid out, is the same."""

    model: DefinitionModel
    tree: dict[str, Any]
    text: str
    source: str
    hash: str
    findings: list[Finding]  # Warnings only.

    def program(self, version: str) -> Program:
        return compile_definition(self.model, version, self.hash)


def read_definition(text: str, source: str = "<definition>") -> Deployable:
    """Reads and verifies. Raises DefinitionInvalidError with all findings; `details["findings"]` lists them."""
    document = read_document(text, source)
    try:
        model = DefinitionModel.model_validate(document.tree)
    except ValidationError as error:
        raise refusal(list(_findings_of(error, document))) from None
    findings = verify(model, document)
    if any(finding.severity == "error" for finding in findings):
        raise refusal(findings)
    try:
        compile_definition(model, model.version or "0", "")
    except (TenutoError, ValueError) as error:
        raise refusal([document.finding("bad-definition", str(error), ())]) from None
    return Deployable(model, document.tree, text, source, digest(document.tree), findings)


def load_program(tree: dict[str, Any], version: str, hash: str) -> Program:
    """The program of a definition that was verified when it was deployed."""
    return compile_definition(DefinitionModel.model_validate(tree), version, hash)


def _findings_of(error: ValidationError, document: Document) -> Iterator[Finding]:
    """One finding per place; of several readings that a place allows, the one that came furthest speaks."""
    by_place: dict[tuple[str | int, ...], dict[str, Any]] = {}
    for problem in error.errors(include_url=False, include_input=True):
        path = _path_in(document.tree, problem["loc"])
        known = by_place.get(path)
        if known is None or len(problem["loc"]) > len(known["loc"]):
            by_place[path] = dict(problem)
    for path, problem in by_place.items():
        position = document.position(path)
        code, message = _say(problem)
        yield Finding(
            code,
            "error",
            message,
            document.source,
            position.line,
            position.column,
            _step_at(document.tree, path),
        )


def _path_in(tree: Any, location: Sequence[str | int]) -> tuple[str | int, ...]:
    """The part of pydantic's location that exists in the document: it also names union members and missing fields."""
    path: list[str | int] = []
    node = tree
    for part in location:
        if isinstance(node, dict) and part in node:
            node = node[part]  # type: ignore[index]
        elif isinstance(node, list) and isinstance(part, int) and part < len(node):
            node = node[part]
        else:
            continue
        path.append(part)
    return tuple(path)


def _say(problem: dict[str, Any]) -> tuple[str, str]:
    field = ".".join(str(part) for part in problem["loc"] if isinstance(part, str) and "[" not in part)
    match problem["type"]:
        case "union_tag_invalid":
            kinds = problem["ctx"]["expected_tags"]
            return "unknown-step-type", f"there is no step type {problem['ctx']['tag']!r}; there are {kinds}"
        case "union_tag_not_found":
            return "missing-step-type", "a step needs a `type`"
        case "extra_forbidden":
            return "unknown-field", f"there is no field {problem['loc'][-1]!r} here"
        case "missing":
            return "missing-field", f"field {problem['loc'][-1]!r} is missing"
        case "value_error":
            return "bad-value", str(problem["ctx"]["error"])
        case _:
            return "bad-value", f"{field}: {problem['msg']}"


def _step_at(tree: Any, path: Sequence[str | int]) -> str | None:
    """The id of the innermost step that the path leads through."""
    found, node = None, tree
    for part in path:
        node = node[part]
        if isinstance(node, dict) and isinstance(node.get("id"), str):
            found = node["id"]
    return found
