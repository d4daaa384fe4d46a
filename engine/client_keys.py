"""Clients' commands happen once: the same key answers as the first time, with another body it is refused (I11)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from domain.state import State
from engine.cache import fold
from engine.draft import Request
from engine.errors import IdempotencyConflictError
from engine.messages import Answer
from engine.ports import ClientCommand, Store

NamespacedKey = tuple[str, str]


class Sorted(NamedTuple):
    """`new` are to be decided; `later` repeat one of those, and can be answered when it is stored."""

    new: list[Request]
    later: list[Request]


class ClientKeys:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def sort(self, requests: Iterable[Request]) -> Sorted:
        """Answers, or refuses, the requests whose key is known already; the others come back."""
        new: list[Request] = []
        later: list[Request] = []
        first: dict[NamespacedKey, Request] = {}
        for request in requests:
            key = _key_of(request)
            if key is None or first.setdefault(key, request) is request:
                new.append(request)
            else:
                later.append(request)
        if not first:
            return Sorted(new, later)
        known = await self._known(first)
        repeated = [request for request in new if _key_of(request) in known]
        await self._answer(repeated, known)
        return Sorted([request for request in new if not request.over], later)

    async def _known(self, keys: Iterable[NamespacedKey]) -> dict[NamespacedKey, ClientCommand]:
        known: dict[NamespacedKey, ClientCommand] = {}
        by_namespace: dict[str, list[str]] = {}
        for namespace, key in keys:
            by_namespace.setdefault(namespace, []).append(key)
        for namespace, those in by_namespace.items():
            for key, command in (await self._store.client_commands(namespace, those)).items():
                known[namespace, key] = command
        return known

    async def _answer(self, requests: list[Request], known: dict[NamespacedKey, ClientCommand]) -> None:
        """As the first time; what became of the instance since then is told as it is now."""
        asked: list[tuple[Request, ClientCommand]] = []
        for request in requests:
            key = _key_of(request)
            assert key is not None
            assert request.client is not None
            if known[key].body_hash == request.client.body_hash:
                asked.append((request, known[key]))
            else:
                request.refuse(IdempotencyConflictError(key=request.client.key))
        loaded = await self._store.load([command.instance for _, command in asked]) if asked else {}
        for request, command in asked:
            request.answer(_answer_of(command, fold(command.instance, loaded[command.instance])))


def _answer_of(command: ClientCommand, state: State) -> Answer:
    return Answer(
        instance_id=command.instance,
        version=command.version,
        position=None,
        created=False,
        events=[],
        status=state.status,
        outcome=state.outcome,
    )


def _key_of(request: Request) -> NamespacedKey | None:
    return None if request.client is None else (request.client.namespace, request.client.key)
