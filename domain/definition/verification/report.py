"""Collects findings: severity and advice by code, line and column by the place in the document."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from domain.definition.document import Document, Path
from domain.definition.findings import Finding
from domain.definition.places import as_written, step_at
from domain.definition.verification.codes import CODES


class Report:
    """The findings about one document."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._findings: dict[tuple[str, Path, int, str], Finding] = {}

    def add(
        self,
        code: str,
        message: str,
        path: Path,
        *,
        fix: str | None = None,
        key: bool = False,
        offset: int = 0,
    ) -> None:
        """Note something about the value (or key) at `path`, in camelCase; `offset` is a character within it.

        The same thing about the same place is noted once.
        """
        kind = CODES[code]
        place = as_written(self.document.tree, path)
        finding = self.document.finding(
            code,
            message,
            place,
            severity=kind.severity,
            step=step_at(self.document.tree, place),
            fix=fix or kind.fix,
            key=key,
            offset=offset,
        )
        self._findings.setdefault((code, place, offset, message), finding)

    def has(self, codes: Iterable[str]) -> bool:
        """Whether any of these has been noted."""
        noted = {finding.code for finding in self._findings.values()}
        return not noted.isdisjoint(codes)

    def findings(self) -> list[Finding]:
        """All of them, in the order of the document; at one place, errors first."""
        return sorted(
            self._findings.values(),
            key=lambda finding: (
                finding.line,
                finding.column,
                finding.severity,
                finding.code,
                finding.message,
            ),
        )


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """Return advice naming what `name` may be a slip of, None if nothing is near."""
    near = get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else None


def listed(names: Iterable[str]) -> str:
    """Name a few things in a sentence: 'a', 'b' and 3 more."""
    shown = [repr(name) for name in names]
    if len(shown) > 3:
        return f"{', '.join(shown[:2])} and {len(shown) - 2} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), *shown[-1:]]))
