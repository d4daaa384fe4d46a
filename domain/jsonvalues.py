"""JSON at the borders: what may enter the log, and what is refused at the door with the place of the fault.

The log is UTF-8 JSON that PostgreSQL and Python must read back alike: no NaN, no NUL (illegal in jsonb), no
half surrogate pairs, no integers beyond 64 bits, no duplicate keys, no bottomless nesting.
Knows sizes and shapes only; whether a value fits a definition's schema is decided elsewhere.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from domain.errors import BadJsonError, LimitExceededError
from domain.limits import MAX_DEPTH, MAX_INTEGER, MAX_PAYLOAD_BYTES, MIN_INTEGER

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode
# Digits to 0, all else to blank: a fast way to see 19 digits in a row, the shortest integer beyond 64 bits.
_DIGITS: Final = bytes(48 if 48 <= byte <= 57 else 32 for byte in range(256))
_STRINGS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_json(
    value: Any, subject: str, *, max_bytes: int | None = MAX_PAYLOAD_BYTES, max_depth: int = MAX_DEPTH
) -> None:
    """Refuse a value that the log cannot hold; `subject` names it in the message ("The input").

    Raises BadJsonError with the JSON path of the first fault (anything but dict, list, str, int, float, bool
    and None counts, subclasses too) and LimitExceededError for its depth or its encoded size.
    """
    if not _sound(value, subject, max_depth):
        _refuse_faults(value, subject)
    try:
        encoded = _encode(value)
    except UnicodeEncodeError:
        _refuse_faults(value, subject)
        raise
    if b"\\u0000" in encoded:  # or text that only shows these six characters
        _refuse_faults(value, subject)
    if max_bytes is not None and len(encoded) > max_bytes:
        raise LimitExceededError(subject=subject, actual=len(encoded), limit=max_bytes, unit="bytes")


def _refuse_faults(value: Any, subject: str) -> None:
    for path, problem in _faults(value):
        raise BadJsonError(subject=subject, problem=f"{problem} at {path}")


def read_json(
    raw: bytes, subject: str, *, max_bytes: int | None = MAX_PAYLOAD_BYTES, max_depth: int = MAX_DEPTH
) -> Any:
    """Decode one JSON text; refuse what `check_json` refuses, bad UTF-8, trailing text and duplicate keys.

    Raises BadJsonError and LimitExceededError. Small sound input costs one decoding, one encoding and a scan.
    """
    if max_bytes is not None and len(raw) > max_bytes:
        raise LimitExceededError(subject=subject, actual=len(raw), limit=max_bytes, unit="bytes")
    brackets = raw.count(b"[") + raw.count(b"{")
    if brackets > max_depth and (depth := _nesting(raw)) > max_depth:
        raise LimitExceededError(subject=f"{subject}: nesting", actual=depth, limit=max_depth, unit="levels")
    try:
        value = _decode(raw)
    except (msgspec.MsgspecError, ValueError) as error:
        raise BadJsonError(subject=subject, problem=str(error)) from error
    if b"\\u0000" in raw or b"0" * 19 in raw.translate(_DIGITS):
        _refuse_faults(value, subject)
    if brackets:
        _refuse_duplicates(raw, _encode(value), subject)
    return value


def _sound(value: Any, subject: str, max_depth: int) -> bool:
    """Whether types and numbers are JSON's; level by level, so that no depth can exhaust the stack."""
    level = [value]
    depth = 0
    while level:
        below: list[Any] = []
        nested = False
        for item in level:
            kind = type(item)
            if kind is str or kind is bool or item is None:
                continue
            if kind is dict:
                if not all(type(key) is str for key in item):
                    return False
                nested = True
                below.extend(item.values())
            elif kind is list:
                nested = True
                below.extend(item)
            elif kind is int:
                if not MIN_INTEGER <= item <= MAX_INTEGER:
                    return False
            elif kind is not float or not math.isfinite(item):
                return False
        level = below
        depth += nested
        if depth > max_depth:
            raise LimitExceededError(
                subject=f"{subject}: nesting", actual=depth, limit=max_depth, unit="levels"
            )
    return True


def _faults(value: Any) -> Iterator[tuple[str, str]]:
    """Yield the JSON path and the nature of each fault but depth, in no particular order."""
    pending = [("$", value)]
    while pending:
        path, item = pending.pop()
        kind = type(item)
        if kind is dict:
            for key, child in item.items():
                place = f"{path}{_selector(key)}"
                if type(key) is not str:
                    yield place, f"a key that is no text ({type(key).__name__})"
                elif problem := _text_problem(key):
                    yield place, f"a key with {problem}"
                pending.append((place, child))
        elif kind is list:
            pending.extend((f"{path}[{index}]", child) for index, child in enumerate(item))
        elif problem := _scalar_problem(item):
            yield path, problem


def _scalar_problem(item: Any) -> str | None:
    kind = type(item)
    if kind is str:
        problem = _text_problem(item)
        return f"text with {problem}" if problem else None
    if kind is int:
        return None if MIN_INTEGER <= item <= MAX_INTEGER else "an integer beyond 64 bits"
    if kind is float:
        return None if math.isfinite(item) else f"the number {item}"
    return None if kind is bool or item is None else f"a value that is no JSON ({kind.__name__})"


def _text_problem(text: str) -> str | None:
    if "\0" in text:
        return "a NUL character"
    return "half a surrogate pair" if _SURROGATE.search(text) else None


def _selector(key: Any) -> str:
    if isinstance(key, str) and _NAME.fullmatch(key):
        return f".{key}"
    return f"[{key!a}]"


def _nesting(raw: bytes) -> int:
    """Return how deep the brackets of a JSON text nest, without decoding it."""
    depth = deepest = 0
    for bracket in _STRINGS.sub(b"", raw).translate(None, delete=_NO_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _refuse_duplicates(raw: bytes, encoded: bytes, subject: str) -> None:
    """Refuse repeated keys, of which the decoder keeps the last.

    Every member has one colon, so a lost member is a lost colon; only an escaped one (`\\u003a`) blurs that.
    """
    if raw.count(b":") == encoded.count(b":") and b"\\u003" not in raw:
        return

    def refuse_repeated(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise BadJsonError(subject=subject, problem=f"the key {key!a} is repeated")
            seen.add(key)

    json.loads(raw, object_pairs_hook=refuse_repeated)


def as_text(value: Any) -> str:
    """A text as it is, anything else as its JSON: labels and correlation keys are texts."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
