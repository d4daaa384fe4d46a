"""Definitions: deployed through an event-sourced stream per name, so that deploys are audited like everything else.

Versions never change, so programs are kept once compiled. Which version is the newest may change through another
server: it is looked up again when what is known is older than `FRESH_SECONDS`.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import msgspec

from domain.codec import decode, encode
from domain.definition.parse import Deployable, load_program
from domain.definition.program import Program
from domain.definition.verification.children import Child, Known, children_in
from domain.errors import UnknownDefinitionError, VersionTakenError
from domain.events import DefinitionDeployed
from engine.messages import DefinitionInfo, Deployed
from engine.ports import Batch, Clock, Recorded, Store, VersionConflictError

if TYPE_CHECKING:
    from collections.abc import Sequence

FRESH_SECONDS = 1.0
KEPT_PROGRAMS = 1_000
_PREFIX = "definition/"


class Registry:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._programs: OrderedDict[tuple[str, str, str], Program] = OrderedDict()
        self._streams: dict[str, tuple[float, list[DefinitionInfo]]] = {}

    async def program(self, namespace: str, name: str, version: str | None) -> Program:
        """Raises UnknownDefinitionError. `version` None is the newest."""
        if version is not None and (kept := self._programs.get((namespace, name, version))):
            self._programs.move_to_end((namespace, name, version))
            return kept
        info = await self.info(namespace, name, version)
        key = (namespace, name, info.version)
        if key not in self._programs:
            self._programs[key] = load_program(info.document, info.version, info.hash)
            if len(self._programs) > KEPT_PROGRAMS:
                self._programs.popitem(last=False)
        return self._programs[key]

    async def info(self, namespace: str, name: str, version: str | None) -> DefinitionInfo:
        versions = await self.versions(namespace, name)
        wanted = [info for info in versions if version is None or info.version == version]
        if not wanted and version is not None:
            versions = await self.versions(namespace, name, fresh=True)
            wanted = [info for info in versions if info.version == version]
        if not wanted:
            said = "" if version is None else f" in version {version!r}"
            raise UnknownDefinitionError(name=name, version=said, namespace=namespace)
        return wanted[-1]

    async def versions(self, namespace: str, name: str, *, fresh: bool = False) -> list[DefinitionInfo]:
        """All versions, oldest first; empty for an unknown name."""
        stream = stream_of(namespace, name)
        known = self._streams.get(stream)
        if known is not None and not fresh and self._clock.monotonic() - known[0] < FRESH_SECONDS:
            return known[1]
        if known is not None:
            self._streams[stream] = (
                self._clock.monotonic(),
                known[1],
            )  # One looks; the others need not, too.
        found = [_info_of(recorded) for recorded in await self._store.read(stream)]
        if found:
            self._streams[stream] = (self._clock.monotonic(), found)
        return found

    async def children_of(self, namespace: str, deployable: Deployable) -> Known:
        """What its children start, and theirs, by definition and version."""
        known: dict[Child, list[Child] | None] = {}
        pending = children_in(deployable.tree)
        while pending:
            child = pending.pop()
            if child not in known:
                try:
                    info = await self.info(namespace, child.name, child.version)
                except UnknownDefinitionError:
                    known[child] = None
                else:
                    known[child] = children_in(info.document)
                    pending += children_in(info.document)
        return known

    async def newest_of_all(self, namespace: str) -> list[DefinitionInfo]:
        """The newest version of every name, by name."""
        prefix, newest, after = f"{_PREFIX}{namespace}/", [], ""
        while streams := await self._store.streams(prefix, after=after):
            names = [stream.removeprefix(prefix) for stream in streams]
            newest += [(await self.versions(namespace, name))[-1] for name in names]
            after = streams[-1]
        return newest

    async def deploy(
        self, namespace: str, deployable: Deployable, *, actor: str | None, request_id: str | None
    ) -> Deployed:
        """The same content is not deployed twice; other content under a deployed version is refused."""
        name = deployable.model.name
        while True:
            versions = await self.versions(namespace, name, fresh=True)
            known = _same(versions, deployable)
            if known is not None:
                return _deployed(known, created=False, findings=deployable)
            event = self._event(namespace, deployable, versions, actor, request_id)
            stream = stream_of(namespace, name)
            recorded = Recorded(stream, len(versions) + 1, "DefinitionDeployed", encode(event))
            try:
                positions = await self._store.append(Batch(events=[recorded]))
            except VersionConflictError:
                continue  # Somebody deployed at the same moment: look at what they did.
            self._streams.pop(stream, None)
            return _deployed(_info_of(recorded), created=True, findings=deployable, position=positions[-1])

    def _event(
        self,
        namespace: str,
        deployable: Deployable,
        versions: Sequence[DefinitionInfo],
        actor: str | None,
        request_id: str | None,
    ) -> DefinitionDeployed:
        return DefinitionDeployed(
            at=self._clock.now(),
            command_id=self._clock.new_id(),
            actor=actor,
            request_id=request_id,
            namespace=namespace,
            name=deployable.model.name,
            version=deployable.model.version or _next_version(versions),
            hash=deployable.hash,
            source=deployable.text,
            document=deployable.tree,
            findings=[msgspec.to_builtins(finding) for finding in deployable.findings],
        )


def stream_of(namespace: str, name: str) -> str:
    """The id of the stream that a definition is deployed in."""
    return f"{_PREFIX}{namespace}/{name}"


def _info_of(recorded: Recorded) -> DefinitionInfo:
    event = decode(recorded.topic, recorded.payload)
    assert isinstance(event, DefinitionDeployed)
    assert event.at is not None
    return DefinitionInfo(
        namespace=event.namespace,
        name=event.name,
        version=event.version,
        hash=event.hash,
        deployed_at=event.at,
        deployed_by=event.actor,
        source=event.source,
        document=event.document,
        findings=event.findings,
    )


def _same(versions: Sequence[DefinitionInfo], deployable: Deployable) -> DefinitionInfo | None:
    """The version that this would be again; raises VersionTakenError where it would be another."""
    wanted = deployable.model.version
    if wanted is None:
        newest = versions[-1] if versions else None
        return newest if newest is not None and newest.hash == deployable.hash else None
    taken = next((info for info in versions if info.version == wanted), None)
    if taken is not None and taken.hash != deployable.hash:
        raise VersionTakenError(name=taken.name, version=wanted)
    return taken


def _next_version(versions: Sequence[DefinitionInfo]) -> str:
    numbers = [int(info.version) for info in versions if info.version.isdecimal()]
    return str(max(numbers, default=0) + 1)


def _deployed(
    info: DefinitionInfo, *, created: bool, findings: Deployable, position: int | None = None
) -> Deployed:
    return Deployed(
        name=info.name,
        version=info.version,
        hash=info.hash,
        created=created,
        findings=findings.findings,
        position=position,
    )
