"""What the workflows call: services with a ledger of what truly happened, which the system under test cannot see.

A service does what it is asked once per idempotency key, and says so again when it is asked again. It may fail, refuse,
hang, answer late, or do it and fail to say so. The ledger is the oracle for effects: I4 and I10.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random
from typing import Any

from msgspec import Struct

from domain.calls import Answer, Failed, ServiceCall, StepError, Succeeded
from simulation.faults import Faults
from simulation.network import Network, NoAnswerError
from simulation.virtual_time import Process, VirtualLoop

UNLIMITED = 60.0
"""Seconds after which a caller without a limit of its own stops waiting for an answer."""

Json = Any


class Effect(Struct, frozen=True, kw_only=True):
    """What happened under one key. `order` counts over the whole world."""

    key: str
    order: int
    output: Json


class Services:
    """`effects` by idempotency key; `dispatches` counts who was handed which attempt; `told` are the keys whose success
    reached its caller."""

    def __init__(self, loop: VirtualLoop, random: Random, faults: Faults) -> None:
        self.process = Process("services")
        self.effects: dict[str, Effect] = {}
        self.dispatches: Counter[tuple[str, int]] = Counter()
        self._loop = loop
        self._random = random
        self._faults = faults
        self._healed = asyncio.Event()

    def heal(self) -> None:
        """Whoever hangs, hangs up."""
        self._healed.set()

    def dispatched(self, key: str, attempt: int) -> None:
        self.dispatches[key, attempt] += 1

    async def carry_out(self, key: str) -> Answer:
        """What comes of one call."""
        strikes = self._faults.strikes
        if strikes("service hangs"):
            await self._healed.wait()
            return Failed(StepError(type="B", message="the connection broke"))
        late = strikes("service is late")
        await asyncio.sleep(self._random.uniform(2, 30) if late else self._random.uniform(0.001, 1.5))
        if strikes("service refuses"):
            return Failed(
                StepError(type="A", message="it cannot be done", retryable=self._random.random() < 0.5)
            )
        if strikes("service fails"):
            wait = self._random.choice((None, None, 500, 3_000))
            return Failed(StepError(type="B", message="not now"), retry_after_ms=wait)
        effect = self._perform(key)
        if strikes("effect, then error"):
            return Failed(StepError(type="B", message="it was done, but nobody says so"))
        return Succeeded(effect.output)

    def _perform(self, key: str) -> Effect:
        known = self.effects.get(key)
        if known is None:
            flag = 0 if self._faults.healed else self._random.randrange(3)
            status = "declined" if flag == 2 else "approved"
            ids = dict.fromkeys(("paymentId", "reservationId", "shipmentId", "trackingNumber"), key)
            output = {"flag": flag, "status": status, "declineReason": "no funds", **ids}
            known = self.effects[key] = Effect(key=key, order=len(self.effects), output=output)
        return known


class HttpConnector:
    """Implements `domain.calls.Connector`: what an engine's own dispatcher calls."""

    def __init__(self, services: Services, network: Network) -> None:
        self._services = services
        self._network = network

    async def call(self, call: ServiceCall) -> Answer:
        key = call.idempotency_key
        self._services.dispatched(key, call.attempt)
        within = UNLIMITED if call.timeout_ms is None else call.timeout_ms / 1_000
        try:
            return await self._network.call(
                self._services.process,
                lambda: self._services.carry_out(key),
                within=within,
                doubled=lambda: None,
            )
        except NoAnswerError as lost:
            return Failed(StepError(type="ConnectionError", message=str(lost)))

    async def close(self) -> None:
        """Nothing to let go of."""
