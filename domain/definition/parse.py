"""From the text of a definition to one that can be deployed, or to every finding at its line and column."""

from __future__ import annotations

from typing import Any, cast

from msgspec import Struct, structs
from pydantic import ValidationError

from domain.definition.complaints import complaints
from domain.definition.document import Document, read_document
from domain.definition.findings import Finding, refusal
from domain.definition.model import DefinitionModel
from domain.definition.program import Program, compile_definition
from domain.definition.verification.codes import CODES
from domain.definition.verify import verify
from domain.digest import digest
from domain.errors import DefinitionInvalidError, TenutoError


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
    document = _read(text, source)
    try:
        model = DefinitionModel.model_validate(document.tree)
    except ValidationError as error:
        raise refusal(complaints(error, document)) from None
    findings = verify(model, document)
    if any(finding.severity == "error" for finding in findings):
        raise refusal(findings)
    try:
        compile_definition(model, model.version or "0", "")
    except (TenutoError, ValueError) as error:
        raise refusal([document.finding("bad-definition", str(error), ())]) from None
    return Deployable(model, document.tree, text, source, digest(document.tree), findings)


def _read(text: str, source: str) -> Document:
    try:
        return read_document(text, source)
    except DefinitionInvalidError as error:
        findings = cast("list[Finding]", error.details["findings"])
        raise refusal([finding if finding.fix else _with_advice(finding) for finding in findings]) from None


def _with_advice(finding: Finding) -> Finding:
    return structs.replace(finding, fix=CODES[finding.code].fix)


def load_program(tree: dict[str, Any], version: str, hash: str) -> Program:
    """The program of a definition that was verified when it was deployed."""
    return compile_definition(DefinitionModel.model_validate(tree), version, hash)
