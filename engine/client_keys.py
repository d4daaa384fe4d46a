"""Clients' commands happen once: the same key answers as the first time, with another body it is refused (I11)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

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
        return Sorted([request for request in new if not await self._answered(request, known)], later)

    async def _known(self, keys: Iterable[NamespacedKey]) -> dict[NamespacedKey, ClientCommand]:
        known: dict[NamespacedKey, ClientCommand] = {}
        by_namespace: dict[str, list[str]] = {}
        for namespace, key in keys:
            by_namespace.setdefault(namespace, []).append(key)
        for namespace, those in by_namespace.items():
            for key, command in (await self._store.client_commands(namespace, those)).items():
                known[namespace, key] = command
        return known

    async def _answered(self, request: Request, known: dict[NamespacedKey, ClientCommand]) -> bool:
        key = _key_of(request)
        command = None if key is None else known.get(key)
        if command is None or request.client is None:
            return False
        if command.body_hash != request.client.body_hash:
            request.refuse(IdempotencyConflictError(key=command.key))
            return True
        state = fold(command.instance, (await self._store.load([command.instance]))[command.instance])
        request.answer(
            Answer(
                instance_id=command.instance,
                version=command.version,
                position=None,
                created=False,
                events=[],
                status=state.status,
                outcome=state.outcome,
            )
        )
        return True


def _key_of(request: Request) -> NamespacedKey | None:
    return None if request.client is None else (request.client.namespace, request.client.key)
