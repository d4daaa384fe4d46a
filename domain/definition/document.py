"""The text of a definition to a plain tree, with the place of every value and key in it.

YAML 1.2 core schema, of which JSON is a subset, read strictly: what two readers could understand differently
is refused (duplicate keys, aliases, tags, keys that are no text, NaN); `on`, `NO`, `12:30` and dates stay
text. The parser's events are taken one by one, so that depth is bounded before anything recurses. Knows
nothing of what a definition means; `findings.py` is the form of its complaints.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, StringMark, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from domain.definition.findings import Finding, refusal
from domain.errors import DefinitionInvalidError, LimitExceededError
from domain.limits import MAX_DEFINITION_BYTES, MAX_DEPTH, MAX_INTEGER, MIN_INTEGER

Path = tuple[str | int, ...]

# YAML 1.2.2, section 10.3.2, "Tag Resolution" of the core schema; it applies to plain scalars only.
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER: Final = re.compile(r"[-+]?[0-9]+")
_OCTAL: Final = re.compile(r"0o[0-7]+")
_HEXADECIMAL: Final = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_MAX_NUMBER_LENGTH: Final = 400


class Position(NamedTuple):
    """A place in a text; both count from 1, columns in characters."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Document:
    """A definition's `tree` (dict, list, str, int, float, bool, None) and where its parts stand in `text`."""

    tree: Any
    source: str
    text: str
    values: dict[Path, int] = field(repr=False)
    keys: dict[Path, int] = field(repr=False)

    def position(self, path: Path, *, key: bool = False, offset: int = 0) -> Position:
        """Return where the value at `path` begins, or its key; the nearest ancestor's place if it is absent.

        `offset` is a character within a text value (an ExpressionError's `position`); it is ignored where the
        text is not written on one line as it reads.
        """
        starts = self.keys if key and path in self.keys else self.values
        while path not in starts:
            path = path[:-1]
        index = starts[path]
        if offset and starts is self.values:
            index = self._within(index, path, offset)
        return _position(self.text, index)

    def finding(
        self,
        code: str,
        message: str,
        path: Path,
        *,
        severity: Literal["error", "warning"] = "error",
        step: str | None = None,
        fix: str | None = None,
        key: bool = False,
        offset: int = 0,
    ) -> Finding:
        """Return a finding about the value (or key) at `path`."""
        line, column = self.position(path, key=key, offset=offset)
        return Finding(code, severity, message, self.source, line, column, step, fix)

    def _within(self, index: int, path: Path, offset: int) -> int:
        value = self.tree
        for part in path:
            value = value[part]
        begin = index + (self.text[index] in "'\"")
        as_written = isinstance(value, str) and self.text.startswith(value, begin) and "\n" not in value
        return begin + offset if as_written else index


def read_document(text: str, source: str = "<definition>") -> Document:
    """Read YAML or JSON. `source` names the text in findings.

    Raises DefinitionInvalidError for malformed or ambiguous text, its findings in `details["findings"]`, and
    LimitExceededError beyond 1 MiB or 64 levels. Takes about 3 ms per KiB: keep large texts off a loop.
    """
    text = text.removeprefix("\ufeff")
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_DEFINITION_BYTES:
        raise LimitExceededError(subject=source, actual=size, limit=MAX_DEFINITION_BYTES, unit="bytes")
    reader = _Reader(text, source)
    for event in _events(text, source):
        reader.take(event)
    if not reader.values:
        reader.refuse("empty-document", "the document is empty", 0)
    if reader.findings:
        raise refusal(reader.findings)
    return Document(reader.root[0], source, text, reader.values, reader.keys)


def _events(text: str, source: str) -> Iterator[Event]:
    try:
        yield from YAML(typ="safe", pure=True).parse(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        index = mark.index if isinstance(mark, StringMark) else 0
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        raise _malformed(text, source, problem, index) from error
    except ReaderError as error:
        raise _malformed(
            text, source, f"the character U+{error.character:04X} is not allowed", error.position
        ) from error
    except (YAMLError, ValueError, OverflowError) as error:
        # ValueError and OverflowError: an escape such as "\\UFFFFFFFF" that is no character.
        raise _malformed(text, source, f"the text is malformed: {error}", 0) from error


def _malformed(text: str, source: str, problem: str, index: int) -> DefinitionInvalidError:
    line, column = _position(text, index)
    return refusal([Finding("malformed-document", "error", problem, source, line, column)])


def _position(text: str, index: int) -> Position:
    return Position(text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index))


@dataclass(slots=True)
class _Open:
    """A list or object that is still being filled; `key` is the one whose value comes next."""

    container: dict[str, Any] | list[Any]
    path: Path
    key: str | None = None


class _Reader:
    """Folds the parser's events into the tree; what is ambiguous becomes a finding and reading goes on."""

    def __init__(self, text: str, source: str) -> None:
        self.text = text
        self.source = source
        self.root: list[Any] = []
        self.open: list[_Open] = [_Open(self.root, ())]
        self.values: dict[Path, int] = {}
        self.keys: dict[Path, int] = {}
        self.findings: list[Finding] = []

    def refuse(self, code: str, message: str, index: int, fix: str | None = None) -> None:
        line, column = _position(self.text, index)
        self.findings.append(Finding(code, "error", message, self.source, line, column, fix=fix))

    def take(self, event: Event) -> None:
        index = event.start_mark.index
        match event:
            case ScalarEvent():
                self._refuse_properties(event, index)
                self._scalar(event, index)
            case MappingStartEvent() | SequenceStartEvent():
                self._refuse_properties(event, index)
                self._enter({} if isinstance(event, MappingStartEvent) else [], index)
            case MappingEndEvent() | SequenceEndEvent():
                self.open.pop()
            case AliasEvent():
                self.refuse("alias", f"the alias *{event.anchor} is refused", index, "write the value out")
                self._place(None, index)
            case DocumentStartEvent():
                if self.values:
                    self.refuse("several-documents", "the text holds more than one document", index)
                if event.version and tuple(event.version) != (1, 2):
                    self.refuse("yaml-version", "only YAML 1.2 is read", 0, "remove the %YAML line")
            case _:
                pass

    def _refuse_properties(self, event: Any, index: int) -> None:
        if event.anchor is not None:
            self.refuse("anchor", f"the anchor &{event.anchor} is refused", index, "write the value out")
        if event.ctag is not None:
            self.refuse("tag", f"the tag {event.tag} is refused", index, "remove it, and quote text")

    def _scalar(self, event: Any, index: int) -> None:
        if event.implicit[0]:
            try:
                value = _resolved(event.value)
            except ValueError as error:
                self.refuse("bad-number", str(error), index, "quote it if it is text")
                value = None
        else:
            value = _paired(event.value)
        if isinstance(value, str) and ("\0" in value or _SURROGATE.search(value)):
            self.refuse("bad-character", "text cannot hold a NUL or half a surrogate pair", index)
            value = ""
        parent = self.open[-1]
        if isinstance(parent.container, dict) and parent.key is None:
            self._key(parent, value, event.value, index)
        else:
            self._place(value, index)

    def _key(self, parent: _Open, value: Any, written: str, index: int) -> None:
        if not isinstance(value, str):
            self.refuse(
                "key-not-text", f"the key {written or 'null'} is no text", index, f'write "{written}"'
            )
            value = written
        path = (*parent.path, value)
        if path in self.keys:
            first = _position(self.text, self.keys[path]).line
            self.refuse("duplicate-key", f"the key {value!r} stands here already, on line {first}", index)
        self.keys[path] = index
        parent.key = value

    def _enter(self, container: dict[str, Any] | list[Any], index: int) -> None:
        parent = self.open[-1]
        if isinstance(parent.container, dict) and parent.key is None:
            raise _malformed(self.text, self.source, "a key must be text, not a list or an object", index)
        if len(self.open) > MAX_DEPTH:
            where = f"{self.source}:{_position(self.text, index).line}: nesting"
            raise LimitExceededError(subject=where, actual=len(self.open), limit=MAX_DEPTH, unit="levels")
        self.open.append(_Open(container, self._place(container, index)))

    def _place(self, value: Any, index: int) -> Path:
        """Put `value` where the next one belongs and return its path; the root stands in its own list."""
        parent = self.open[-1]
        if isinstance(parent.container, list):
            path = (*parent.path, len(parent.container)) if len(self.open) > 1 else ()
            parent.container.append(value)
        else:
            key, parent.key = parent.key or "", None
            path = (*parent.path, key)
            parent.container[key] = value
        self.values[path] = index
        return path


def _resolved(text: str) -> Any:
    """Return what plain `text` stands for. Raises ValueError for a number that JSON cannot hold."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"{text} is no number that JSON can hold")
    number = _number(text)
    if number is None:
        return text
    in_range = MIN_INTEGER <= number <= MAX_INTEGER if isinstance(number, int) else math.isfinite(number)
    if not in_range:
        raise ValueError(f"the number {text[:40]} is out of range")
    return number


def _number(text: str) -> int | float | None:
    if _INTEGER.fullmatch(text):
        return int(text) if len(text) <= _MAX_NUMBER_LENGTH else math.inf
    if _OCTAL.fullmatch(text):
        return int(text, 8)
    if _HEXADECIMAL.fullmatch(text):
        return int(text, 16)
    return float(text) if _FLOAT.fullmatch(text) else None


def _paired(text: str) -> str:
    """Join surrogate pairs: JSON escapes a character beyond U+FFFF as two, which YAML would leave apart."""
    if not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
