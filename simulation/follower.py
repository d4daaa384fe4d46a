"""A projection in the simulated world (I12): it follows the log in batches; rows and position change together.

It is told of the log late, crashes in the middle of a batch, and goes on from its position. What it has in the end must
be what one reading of the whole log gives.
"""

from __future__ import annotations

from random import Random

from domain.codec import decode
from domain.executions import Executions, advance
from domain.happened import Stimulus, timed
from engine.ports import Recorded
from simulation.faults import Faults
from simulation.invariants import OTHERS
from simulation.virtual_time import VirtualClock

EVERY = 0.7
BATCH = 20


class Follower:
    """`rows` are the step executions of each instance, as far as `position` in the log."""

    def __init__(self, log: list[Recorded], clock: VirtualClock, random: Random, faults: Faults) -> None:
        self.rows: dict[str, Executions] = {}
        self.position = 0
        self._stimuli: dict[str, Stimulus] = {}
        self._log = log
        self._clock = clock
        self._random = random
        self._faults = faults

    async def run(self) -> None:
        while True:
            await self._clock.sleep(self._random.uniform(0, EVERY))
            self.catch_up(self._random.randint(1, BATCH))

    def catch_up(self, most: int) -> None:
        """One batch, in one transaction: all of it, or nothing when it dies in the middle."""
        if self._faults.strikes("follower crash"):
            return
        batch = self._log[self.position : self.position + most]
        for recorded in batch:
            if not recorded.stream.startswith(OTHERS):
                self._apply(recorded)
        self.position += len(batch)

    def _apply(self, recorded: Recorded) -> None:
        event = decode(recorded.topic, recorded.payload)
        if event.at is not None:
            self._stimuli[recorded.stream] = Stimulus(event.at, event.actor, event.reason)
        rows = self.rows.setdefault(recorded.stream, {})
        for happened in timed([(recorded.version, event)], self._stimuli.get(recorded.stream)):
            advance(rows, happened)
