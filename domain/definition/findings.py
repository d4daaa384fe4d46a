"""One finding about a definition: what is wrong, where, and what to write instead.

Everything that reads or verifies a definition speaks in findings, so that a person sees one list in one form.
Knows nothing of YAML or of steps; `document.py` says where things stand, verification says what is wrong.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from domain.errors import DefinitionInvalidError


class Finding(Struct, frozen=True, omit_defaults=True):
    """`code` is stable and for machines; `line` and `column` count from 1; `fix` is what to write instead."""

    code: str
    severity: Literal["error", "warning"]
    message: str
    source: str
    line: int
    column: int
    step: str | None = None
    fix: str | None = None

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}: {self.severity} {self.code}: {self.message}"


def refusal(findings: list[Finding]) -> DefinitionInvalidError:
    """Return the error that carries `findings`, at least one; it says the first and how many follow."""
    first, *more = findings
    summary = f"{first} (and {len(more)} more)" if more else str(first)
    return DefinitionInvalidError(summary=summary, findings=findings)
