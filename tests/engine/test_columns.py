"""Columns against PostgreSQL: what it reads is what was meant, as with psycopg's own lists."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.store import columns
from engine.store.columns import Bigints, Column, Integers, Payloads, Texts, Times

TIMES = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 - given one
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
KINDS: dict[type[Column], tuple[str, st.SearchStrategy[Any]]] = {
    Texts: ("text", st.none() | TEXTS),
    Payloads: ("bytea", st.none() | st.binary()),
    Times: ("timestamptz", st.none() | TIMES),
    Bigints: ("bigint", st.integers(-(2**63), 2**63 - 1)),
    Integers: ("integer", st.integers(-(2**31), 2**31 - 1)),
}


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True, options="-c timezone=UTC") as connection:
        columns.register(connection)
        yield connection


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_column_is_read_as_psycopgs_list_is(
    connection: psycopg.Connection[Any], kind: type[Column], data: st.DataObject
) -> None:
    element, values = KINDS[kind]
    meant = data.draw(st.lists(values, max_size=20))
    found = connection.execute(f"SELECT %b::{element}[]::text".encode(), (kind(meant),)).fetchone()
    wanted = connection.execute(f"SELECT %s::{element}[]::text".encode(), (meant,)).fetchone()
    assert found == wanted


def test_a_number_that_the_type_cannot_hold_and_a_time_of_no_zone_are_refused() -> None:
    with pytest.raises(Exception, match="'i' format requires"):
        Integers([2**31]).binary()
    with pytest.raises(TypeError, match="offset-naive"):
        Times([datetime(2026, 1, 1)]).binary()  # noqa: DTZ001 - on purpose
