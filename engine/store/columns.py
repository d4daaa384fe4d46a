"""Columns as PostgreSQL's binary arrays: what one append of many rows is sent as.

psycopg can dump lists, but asks of every element what it is; here a column knows its type, at a fifth of the cost.
The format is that of PostgreSQL's `array_send`: dimensions, a flag, the element's type, length and lower bound, then
each element after its size, -1 for null. Next: `recorder.py`, which sends them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from struct import Struct, pack
from typing import Any, ClassVar

from psycopg.abc import AdaptContext
from psycopg.adapt import Dumper
from psycopg.pq import Format

_HEADER = Struct("!iiIii")
_SIZE = Struct("!i").pack
_TIME = Struct("!q").pack
_NULL = _SIZE(-1)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Column(ABC):
    """Values of one column, in the order of the rows. Its subclasses are types of PostgreSQL."""

    __slots__ = ("values",)
    element: ClassVar[int]
    array: ClassVar[int]

    def __init__(self, values: Iterable[Any]) -> None:
        self.values = list(values)

    @abstractmethod
    def body(self) -> bytes:
        """The elements, one after the other."""

    def binary(self) -> bytes:
        if not self.values:
            return _HEADER.pack(0, 0, self.element, 0, 0)[:12]
        return _HEADER.pack(1, 1, self.element, len(self.values), 1) + self.body()


class _Sized(Column):
    """Elements of any length."""

    __slots__ = ()

    @abstractmethod
    def elements(self) -> Iterable[bytes | None]:
        """Each without its size."""

    def body(self) -> bytes:
        parts: list[bytes] = []
        for element in self.elements():
            parts += (_NULL,) if element is None else (_SIZE(len(element)), element)
        return b"".join(parts)


class Texts(_Sized):
    __slots__ = ()
    element, array = 25, 1009

    def elements(self) -> Iterable[bytes | None]:
        return [None if value is None else value.encode() for value in self.values]


class Payloads(_Sized):
    """Of `bytea`."""

    __slots__ = ()
    element, array = 17, 1001

    def elements(self) -> Iterable[bytes | None]:
        return self.values


class Times(_Sized):
    """Of `timestamptz`: microseconds since 2000. A time without a zone raises TypeError."""

    __slots__ = ()
    element, array = 1184, 1185

    def elements(self) -> Iterable[bytes | None]:
        return [None if value is None else _TIME((value - _EPOCH) // _MICROSECOND) for value in self.values]


class Bigints(Column):
    """Without nulls."""

    __slots__ = ()
    element, array, size, code = 20, 1016, 8, "iq"

    def body(self) -> bytes:
        sized = chain.from_iterable((self.size, value) for value in self.values)
        return pack("!" + self.code * len(self.values), *sized)


class Integers(Bigints):
    __slots__ = ()
    element, array, size, code = 23, 1007, 4, "ii"


TYPES: Sequence[type[Column]] = (Texts, Payloads, Times, Bigints, Integers)


def register(context: AdaptContext) -> None:
    """So that psycopg takes columns as parameters."""
    for kind in TYPES:
        context.adapters.register_dumper(kind, _dumper(kind))


def _dumper(kind: type[Column]) -> type[Dumper]:
    class ColumnDumper(Dumper):
        format = Format.BINARY
        oid = kind.array

        def dump(self, obj: Column) -> bytes:
            return obj.binary()

    return ColumnDumper
