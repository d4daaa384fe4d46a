"""Durations: both forms, what is refused, and that writing undoes reading."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.durations import format_duration, parse_duration
from domain.errors import DurationError, LimitExceededError
from domain.limits import MAX_DURATION_MS

DAY = 24 * 60 * 60 * 1000


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("0s", 0),
        ("100ms", 100),
        ("30s", 30_000),
        ("1.5h", 5_400_000),
        ("0.1s", 100),
        ("48h", 2 * DAY),
        ("7d", 7 * DAY),
        ("PT30S", 30_000),
        ("PT1H30M", 5_400_000),
        ("PT0.5S", 500),
        ("P1DT12H", DAY + DAY // 2),
        ("P2W", 14 * DAY),
        ("P3650D", MAX_DURATION_MS),
    ],
)
def test_a_number_with_a_unit_and_iso_8601_are_read(text: str, ms: int) -> None:
    assert parse_duration(text) == ms


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "30",
            "s",
            "30 s",
            " 30s",
            "30s ",
            "30S",
            "1h30m",
            "-5s",
            "+5s",
            ".5s",
            "5.s",
            "1e3s",
            "1,5h",
        ),
        *("٣s", "30sec", "1y", "1w", "NaNs", "infs", "0x10s", "1_000s", "30s\n"),
        *("P", "PT", "P1Y", "P1M", "P1DT", "PT1D", "P1H", "-PT1S", "PT-1S", "pt1s", "PT1S1H", "P1W1Y"),
        "1" * 41 + "s",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(DurationError):
        parse_duration(text)


@pytest.mark.parametrize("value", [30, 1.5, None, True, ["30s"]])
def test_what_is_no_text_is_refused(value: Any) -> None:
    with pytest.raises(DurationError):
        parse_duration(value)


@pytest.mark.parametrize("text", ["3651d", "P522W", "9999999999999999999999999h"])
def test_more_than_ten_years_is_refused(text: str) -> None:
    with pytest.raises(LimitExceededError):
        parse_duration(text)


def test_a_positive_duration_is_never_rounded_to_nothing() -> None:
    assert parse_duration("0.0001ms") == 1
    assert parse_duration("1.0001s") == 1001


@given(st.integers(min_value=0, max_value=MAX_DURATION_MS))
def test_writing_undoes_reading(ms: int) -> None:
    assert parse_duration(format_duration(ms)) == ms


@pytest.mark.parametrize(("ms", "text"), [(0, "0s"), (1500, "1500ms"), (5_400_000, "90m"), (DAY, "1d")])
def test_a_duration_is_written_in_the_largest_unit_that_fits(ms: int, text: str) -> None:
    assert format_duration(ms) == text


def test_a_negative_duration_cannot_be_written() -> None:
    with pytest.raises(DurationError):
        format_duration(-1)


@given(st.text(alphabet="0123456789.PTWDHMSmshd-+ ", max_size=12))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(DurationError, LimitExceededError):
        assert 0 <= parse_duration(text) <= MAX_DURATION_MS
