"""I-Regexp (RFC 9485) for `match()` and `search()`, on an engine whose time is linear in the text.

A backtracking engine could hang the loop on `(a*)*b`. Rust's `regex`, which comes with the JSON Schema
validator, cannot; a pattern is therefore compiled as a schema with nothing but `pattern` in it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final, Protocol

import jsonschema_rs
from iregexp_check import check

from domain.limits import MAX_PATTERN_LENGTH, MAX_PATTERN_PROGRAM_BYTES

# The checker refuses counts of two digits (`a{10}`), which RFC 9485 allows; it is given them as one.
_COUNTS: Final = re.compile(r"\{[0-9]+(,?)[0-9]*\}")


class Matcher(Protocol):
    """Whether a JSON value is text that the pattern accepts; anything but text is not."""

    def __call__(self, value: Any, /) -> bool: ...


class PatternError(ValueError):
    """The pattern is too long, is no I-Regexp, or would compile to too large a program."""


@lru_cache(maxsize=256)
def matcher(pattern: str, *, anywhere: bool) -> Matcher:
    """Compile for `search()` if `anywhere`, else for `match()` of the whole text. Raises PatternError."""
    if len(pattern) > MAX_PATTERN_LENGTH:
        raise PatternError(f"the pattern is longer than {MAX_PATTERN_LENGTH} characters")
    if not check(_COUNTS.sub(r"{1\1}", pattern)):
        raise PatternError(
            "the pattern is no I-Regexp (RFC 9485), which has no \\d, \\w, look-around or lazy *?"
        )
    body = _dots_spelled_out(pattern)
    options = jsonschema_rs.RegexOptions(size_limit=MAX_PATTERN_PROGRAM_BYTES)
    try:
        validator = jsonschema_rs.validator_for(
            {"pattern": body if anywhere else f"^(?:{body})$"}, pattern_options=options
        )
    except jsonschema_rs.ValidationError as error:
        raise PatternError("the pattern has an unknown class or too large a repetition") from error

    def matches(value: Any) -> bool:
        try:
            return type(value) is str and validator.is_valid(value)
        except UnicodeEncodeError:
            return False  # a lone surrogate is no character, so no pattern accepts it

    return matches


def _dots_spelled_out(pattern: str) -> str:
    """Write `.` as I-Regexp means it: neither newline nor carriage return (Rust's dot accepts the latter)."""
    parts: list[str] = []
    in_class = escaped = False
    for char in pattern:
        parts.append(r"[^\n\r]" if char == "." and not in_class and not escaped else char)
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif char in "[]":
            in_class = char == "["
    return "".join(parts)
