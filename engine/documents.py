"""Deployed definitions as a process of its own reads them: from their streams, each compiled once."""

from __future__ import annotations

from typing import Any, NamedTuple

from domain.codec import decode
from domain.definition.parse import load_program
from domain.definition.program import Program
from domain.errors import UnknownDefinitionError
from domain.events import DefinitionDeployed
from engine.registry import stream_of
from engine.store.reading import Reader


class Compiled(NamedTuple):
    tree: dict[str, Any]
    program: Program


class Documents:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._known: dict[tuple[str, str, str], Compiled] = {}

    def find(self, namespace: str, name: str, version: str) -> Compiled:
        """Raises UnknownDefinitionError."""
        key = (namespace, name, version)
        if key not in self._known:
            self._load(namespace, name)
        if key not in self._known:
            raise UnknownDefinitionError(name=name, version=f" in version {version!r}", namespace=namespace)
        return self._known[key]

    def _load(self, namespace: str, name: str) -> None:
        with self._reader.moment() as moment:
            for _, rows in moment.histories([stream_of(namespace, name)]):
                for _, _, topic, payload in rows:
                    event = decode(topic, payload)
                    assert isinstance(event, DefinitionDeployed)
                    program = load_program(event.document, event.version, event.hash)
                    self._known[namespace, name, event.version] = Compiled(event.document, program)
