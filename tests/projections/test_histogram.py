"""Durations in buckets: where the borders are, how true a percentile is, and that SQL says the same."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.histogram import bucket_of, percentile_ms, upper_ms

Milliseconds = st.floats(min_value=0.001, max_value=3.2e11)


@given(Milliseconds)
def test_a_duration_is_at_most_nine_hundredths_below_what_its_bucket_says(ms: float) -> None:
    bucket = bucket_of(timedelta(milliseconds=ms))
    assert 0 <= bucket < 32_000  # It is a smallint.
    assert ms <= upper_ms(bucket) * 1.000001 + 0.001
    assert bucket == 0 or ms >= upper_ms(bucket) / 1.0906


@given(st.lists(st.integers(min_value=1, max_value=10**7), min_size=1, max_size=200))
def test_a_percentile_is_that_of_the_durations_themselves_or_a_little_more(durations: list[int]) -> None:
    buckets = Counter(bucket_of(timedelta(milliseconds=ms)) for ms in durations)
    for share in (0.5, 0.9, 0.99):
        rank = max(1, -(-len(durations) * int(share * 100) // 100))
        exact = sorted(durations)[rank - 1]
        found = percentile_ms(buckets, share)
        assert found is not None
        assert exact <= found <= exact * 1.0906 + 1


def test_of_nothing_there_is_no_percentile() -> None:
    assert percentile_ms({}, 0.99) is None
    assert percentile_ms({0: 3}, 0.99) == 1


@pytest.mark.parametrize("bucket", [0, 1, 7, 8, 9, 40, 80, 200, 293])
def test_sql_knows_the_same_borders(bucket: int, database: str) -> None:
    with psycopg.connect(database) as connection:
        query = "SELECT ceil(power(2.0, %s::smallint / 8.0) - 1e-9)::bigint"
        row = connection.execute(query, (bucket,)).fetchone()
    assert row == (percentile_ms({bucket: 1}, 1.0),)
