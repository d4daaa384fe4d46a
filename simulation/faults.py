"""What can go wrong, and how often it does in one world: swarm testing, so each kind is on or off by chance.

A world that has every fault a little finds less than many worlds that each have a few of them. `Faults.strikes` is the
one place at which a fault is decided and counted: a kind that never struck over many seeds was never tried.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from random import Random

KINDS: dict[str, tuple[float, float]] = {
    # Of processes: how many times a minute, of each.
    "engine crash": (1, 12),
    "engine restart": (1, 6),
    "engine pause": (1, 12),
    "worker crash": (1, 12),
    "worker pause": (1, 12),
    "isolation": (1, 6),
    "clock jump": (1, 6),
    "forgotten timer": (1, 20),
    "rows rebuilt": (1, 20),
    # Of the store: the chance of one call.
    "store refuses": (0.01, 0.1),
    "store outage": (1, 4),  # A minute.
    "store slow": (0.01, 0.2),
    "commit lost": (0.01, 0.1),
    "commit unknown, stored": (0.01, 0.2),
    "commit unknown, not stored": (0.01, 0.1),
    "commit unknown, stored late": (0.01, 0.1),
    # Of the network: the chance of one message.
    "request lost": (0.01, 0.1),
    "answer lost": (0.01, 0.1),
    "message doubled": (0.01, 0.1),
    "message late": (0.01, 0.2),
    # Of services and workers: the chance of one call.
    "service fails": (0.1, 0.5),
    "service refuses": (0.03, 0.3),
    "service hangs": (0.03, 0.15),
    "service is late": (0.05, 0.3),
    "effect, then error": (0.03, 0.3),
    "worker ignores its loss": (0.3, 1.0),
    # Of a projection: the chance of one batch.
    "follower crash": (0.05, 0.5),
    # Of clients: the chance of one request.
    "client repeats": (0.05, 0.4),
    "client errs": (0.02, 0.2),
    # For a whole world: drawn once.
    "skewed clocks": (1, 1),
    "small cache": (1, 1),
    "early snapshots": (1, 1),
}
"""Each kind with the least and the most of its rate."""


class Faults:
    """Those of one world. `rates` has what is on; after `heal` nothing strikes any more."""

    def __init__(self, random: Random, *, without: Iterable[str] = ()) -> None:
        left_out = frozenset(without)
        share = random.choice((0.15, 0.4, 0.7))
        self.rates: dict[str, float] = {}
        for kind, (least, most) in KINDS.items():
            on, rate = random.random() < share, random.uniform(least, most)
            if on and kind not in left_out:
                self.rates[kind] = rate
        self.struck: Counter[str] = Counter()
        self.healed = False
        self._dice = {kind: Random(random.getrandbits(64)) for kind in KINDS}

    def strikes(self, kind: str) -> bool:
        """Whether it does, this time."""
        rate = self.rates.get(kind)
        if rate is None or self.healed or self._dice[kind].random() >= rate:
            return False
        self.struck[kind] += 1
        return True

    def struck_by(self, kind: str) -> None:
        """It did, by the clock."""
        self.struck[kind] += 1

    def has(self, kind: str) -> bool:
        """Whether the world has it at all; for what is drawn once."""
        return kind in self.rates

    def pause_before(self, kind: str) -> float | None:
        """Seconds until it strikes next; None if it never does."""
        rate = self.rates.get(kind)
        return None if rate is None or self.healed else self._dice[kind].expovariate(rate / 60)

    def heal(self) -> None:
        self.healed = True
