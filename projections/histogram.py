"""Durations as counts in buckets: small, and added up over minutes, versions and servers without losing anything.

Eight buckets double the duration, so a percentile is true to nine hundredths. Bucket 0 is a millisecond or less;
bucket n ends at 2^(n/8) ms. The views of `tenuto_v1` say the same in SQL; a test holds both equal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta

PER_DOUBLING = 8
_MILLISECOND = timedelta(milliseconds=1)


def bucket_of(duration: timedelta) -> int:
    ms = duration / _MILLISECOND
    return 0 if ms <= 1 else math.ceil(math.log2(ms) * PER_DOUBLING - 1e-9)


def upper_ms(bucket: int) -> float:
    """The longest duration that falls into the bucket, in milliseconds."""
    return float(2 ** (bucket / PER_DOUBLING))


def percentile_ms(buckets: Mapping[int, int], share: float) -> int | None:
    """The duration that this share (0.99) of all was no longer than, whole milliseconds; None of none."""
    total = sum(buckets.values())
    rank, seen = math.ceil(total * share), 0
    for bucket in sorted(buckets):
        seen += buckets[bucket]
        if seen >= rank:
            return math.ceil(upper_ms(bucket) - 1e-9)
    return None
