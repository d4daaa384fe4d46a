"""Who asks: clients, who start and act and ask again when they got no answer, and an operator, who ends every wait.

Every request carries an id of its own, which stands in the log if it was granted. `Asked` keeps what its sender was
told: success, definite failure or nothing (I16); what the log says is compared at the end (`aftermath.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from random import Random
from typing import Any, Literal

from msgspec import Struct

from domain.commands import SendSignal
from domain.errors import TenutoError
from domain.state import State, Stuck, Waiting
from engine.engine import Engine
from engine.errors import NOT_NOW
from engine.messages import Answer, StartRequest
from engine.ports import CommitUnknownError
from simulation import acts
from simulation.acts import Act
from simulation.faults import Faults
from simulation.network import Network, NoAnswerError
from simulation.remote_worker import Server
from simulation.variants import Mapping
from simulation.virtual_time import VirtualClock

AGAIN_SECONDS = 0.5
ANSWER_WITHIN = 6.0
TRIES = 6
NAMESPACE = "default"
HOUR_MS = 3_600_000
KINDS_OF_ACTS = (
    ["go"] * 6
    + ["note", "note", "stop", "cancel", "pause", "pause", "data", "undo", "terminate"]
    + ["migrate"] * 4
)
ROUGH_ACTS = ("cancel", "cancel", "undo", "terminate", "terminate", "pause", "stop", "go", "migrate")
"""What strangers do to families."""

Told = Literal["granted", "refused", "not now", "nothing"]


class Asked(Struct, kw_only=True, eq=False):
    """One request, and what its sender was told. `doubled`: it came twice, so a refusal may be of the second."""

    id: str
    what: str
    key: str | None = None
    body: str = ""
    told: Told = "nothing"
    answer: Answer | None = None
    error: str = ""
    doubled: bool = False
    # Of an act: on what, how it is made, the version of the instance when it was asked and when the answer was heard.
    instance: str = ""
    make: Act | None = None
    least: int = 0
    most: int = 0
    refused_with: str | None = None


class Read(Struct, frozen=True, kw_only=True):
    """What a client saw of an instance that was at version `least` when it asked."""

    instance: str
    least: int
    version: int


class Client:
    """`record` is shared by all clients of a world, and outlives them."""

    def __init__(
        self,
        name: str,
        clock: VirtualClock,
        random: Random,
        *,
        network: Network,
        faults: Faults,
        choose: Callable[[], Server],
        record: list[Asked],
        reads: list[Read],
        renamed: dict[str, Mapping],
        version_of: Callable[[str], int],
    ) -> None:
        self.name = name
        self.random = random
        self.faults = faults
        self.clock = clock
        self._network = network
        self._choose = choose
        self._record = record
        self._reads = reads
        self._renamed = renamed
        self._version_of = version_of

    async def start(self, definition: str, key: str, body: str = "", **fields: Any) -> Asked:
        """Until it is granted or refused, or patience ends."""

        def ask(engine: Engine, id: str) -> Coroutine[Any, Any, Answer]:
            return engine.start_instance(
                StartRequest(
                    namespace=NAMESPACE,
                    definition=definition,
                    input={"body": body},
                    idempotency_key=key,
                    body_hash=body,
                    actor=self.name,
                    request_id=id,
                    **fields,
                )
            )

        return await self.ask("start", ask, key=key, body=body)

    async def act(
        self, instance: str, make: Act, what: str, *, key: str | None = None, body: str = ""
    ) -> Asked:
        def ask(engine: Engine, id: str) -> Coroutine[Any, Any, Answer]:
            return engine.act(instance, lambda env: make(env, id))

        return await self.ask(what, ask, key=key, body=body, instance=instance, act=make)

    async def signal_by_key(self, name: str, correlation_key: str, signal_id: str) -> Asked:
        async def ask(engine: Engine, id: str) -> Answer:
            payload = {"why": "by key"}
            return (
                await engine.signal_by_key(
                    NAMESPACE, name, correlation_key, signal_id, payload, request_id=id
                )
            )[0]

        return await self.ask("signal", ask, key=f"{correlation_key}/{signal_id}")

    async def keep(self, name: str, correlation_key: str, signal_id: str, ttl_ms: int) -> Asked:
        """To whoever listens, or will. What became of it the log tells, not an instance's answer."""

        async def ask(engine: Engine, id: str) -> None:
            at, payload = self.clock.now(), {"why": "kept"}
            signal = SendSignal(at=at, request_id=id, signal_id=signal_id, name=name, payload=payload)
            await engine.keeper.signal(NAMESPACE, correlation_key, signal, ttl_ms=ttl_ms)

        return await self.ask("keep", ask, key=f"{correlation_key}/{signal_id}")

    async def migrate(self, instance: str) -> Asked:
        """To the version that it does not have; now and then with no mapping, which may be in its way."""
        mapped = self.random.random() < 0.8

        async def ask(engine: Engine, id: str) -> Answer:
            state = await engine.state_of(instance)
            version = "2" if state.definition_version == "1" else "1"
            target = await engine.program(NAMESPACE, state.definition, version)
            steps = self._renamed[state.definition] if mapped else {}
            if version == "1":
                steps = {after: before for before, after in steps.items()}
            make = acts.migrate(target, steps, self.name)
            return await engine.act(instance, lambda env: make(env, id))

        return await self.ask("migrate", ask)

    async def read(self, instance: str) -> None:
        """What any engine says of it: never less than is in the log already."""
        server, least = self._choose(), self._version_of(instance)

        async def ask() -> State:
            return await server.engine.state_of(instance)

        try:
            found = await self._network.call(server.process, ask, within=ANSWER_WITHIN)
        except TenutoError:
            return
        self._reads.append(Read(instance=instance, least=least, version=found.version))

    async def ask(
        self,
        what: str,
        make: Callable[[Engine, str], Coroutine[Any, Any, Answer | None]],
        *,
        key: str | None = None,
        body: str = "",
        instance: str = "",
        act: Act | None = None,
    ) -> Asked:
        """The last try. Each has an id of its own."""
        tries = 0
        while True:
            tries += 1
            asked = Asked(id=f"{self.name}/{len(self._record)}", what=what, key=key, body=body)
            asked.instance, asked.make = instance, act
            await self._once(asked, make)
            if asked.told in ("granted", "refused") or (tries >= TRIES and not self.faults.healed):
                return asked
            await self.clock.sleep(AGAIN_SECONDS)

    async def _once(
        self, asked: Asked, make: Callable[[Engine, str], Coroutine[Any, Any, Answer | None]]
    ) -> None:
        self._record.append(asked)
        server, asked.least = self._choose(), self._version_of(asked.instance)

        async def call() -> Answer | None:
            return await make(server.engine, asked.id)

        def doubled() -> None:
            asked.doubled = True

        try:
            asked.answer = await self._network.call(
                server.process, call, within=ANSWER_WITHIN, doubled=doubled
            )
            asked.told = "granted"
        except (NoAnswerError, CommitUnknownError) as error:
            asked.error = repr(error)
        except NOT_NOW as error:
            asked.told, asked.error = "not now", repr(error)
        except TenutoError as error:
            asked.told, asked.error = "refused", repr(error)
            asked.refused_with = type(error).__name__
        asked.most = self._version_of(asked.instance)


class Customer:
    """Starts one instance, some time, and then does this and that to it."""

    def __init__(self, client: Client, definitions: list[str], number: int) -> None:
        self.client = client
        self._definitions = definitions
        self._key = f"key-{number}"
        self._number = number

    async def run(self, chaos_seconds: float) -> None:
        client, random, faults = self.client, self.client.random, self.client.faults
        await client.clock.sleep(random.uniform(0, chaos_seconds * 0.7))
        definition = random.choice(self._definitions)
        version = random.choice(("1", "2", None))
        settings: dict[str, Any] = {
            "version": version,
            "correlation_id": random.choice((None, "k", f"k{self._number}")),
        }
        if random.random() < 0.15:
            settings["start_at"] = client.clock.now() + timedelta(seconds=random.uniform(0, 4))
        key = settings["correlation_id"]
        if key == f"k{self._number}" and random.random() < 0.5:
            for number in range(random.choice((1, 1, 2))):  # Before anybody can listen.
                await client.keep("go", key, f"{client.name}-kept-{number}", random.choice((3_000, HOUR_MS)))
        started = await client.start(definition, self._key, **settings)
        if faults.strikes("client repeats"):
            started = await client.start(definition, self._key, **settings)
        if started.answer is not None and faults.strikes("client errs"):
            await client.start(definition, self._key, body="another")
        while started.answer is None:
            started = await client.start(definition, self._key, **settings)
        instance = started.answer.instance_id
        for number in range(random.choice((0, 1, 1, 2, 3, 5))):
            await client.read(instance)
            await client.clock.sleep(random.uniform(0, chaos_seconds * 0.3))
            if key is not None and random.random() < 0.2:
                await client.signal_by_key("go", key, f"{client.name}-{number}")
            else:
                await _do_something(client, instance, number)


async def _do_something(
    client: Client, instance: str, number: int, kinds: Sequence[str] = KINDS_OF_ACTS
) -> None:
    random = client.random
    kind = random.choice(kinds)
    if kind == "migrate":
        await client.migrate(instance)
        return
    if kind in ("go", "note", "stop"):
        await _signal(client, instance, kind, f"{client.name}-{number}")
        return
    if client.faults.strikes("client errs"):
        await client.act(instance, acts.nonsense(random, client.name), "nonsense")
    act = acts.plain(kind, client.name)
    await client.act(instance, act, kind)
    if kind == "pause":
        await client.clock.sleep(random.uniform(0, 5))
        await client.act(instance, acts.plain("resume", client.name), "resume")


async def _signal(client: Client, instance: str, name: str, id: str) -> None:
    random = client.random
    payload = {"why": "enough", "approved": random.random() < 0.5}
    signal = acts.signal(name, id, payload, client.name)
    await client.act(instance, signal, "signal", key=f"{instance}/{id}", body="first")
    if client.faults.strikes("client repeats"):
        await client.act(instance, signal, "signal", key=f"{instance}/{id}", body="first")
    if client.faults.strikes("client errs"):
        other = acts.signal(name, id, {"why": "other"}, client.name)
        await client.act(instance, other, "signal", key=f"{instance}/{id}", body="other")


class Stranger:
    """Knows of children, and now and then does something to one, whoever has ordered it, or to who has."""

    def __init__(self, client: Client, look: Callable[[], list[str]]) -> None:
        self._client = client
        self._look = look

    async def run(self, chaos_seconds: float) -> None:
        client, pause = self._client, chaos_seconds * 0.3
        for number in range(client.random.choice((0, 2, 4, 8))):
            await client.clock.sleep(client.random.uniform(0, pause))
            if kin := self._look():
                await _do_something(client, client.random.choice(kin), number, ROUGH_ACTS)


class Operator:
    """Looks at what has not ended, and does what it waits for a person to do; in the end it goes on."""

    def __init__(self, client: Client, look: Callable[[], list[State]]) -> None:
        self._client = client
        self._look = look
        self._rounds: dict[str, int] = {}
        self._signals = 0

    async def run(self) -> None:
        while True:
            await self._client.clock.sleep(1.0)
            for state in self._look():
                await self._help(state)

    async def _help(self, state: State) -> None:
        name, random = self._client.name, self._client.random
        if state.paused and not state.ended:
            await self._client.act(state.id, acts.plain("resume", name), "resume")
        if random.random() < 0.05:
            await self._client.migrate(state.id)
        if state.data.get("flag") == 1 and not state.ended:
            await self._client.act(state.id, acts.plain("data", name), "data")
        for execution, open in list(state.open.items()):
            if isinstance(open, Stuck):
                key = f"{state.id}/{execution}"
                rounds = self._rounds[key] = self._rounds.get(key, 0) + 1
                kind = random.choice(("retry", "retry", "skip", "resolve", "fail")) if rounds < 4 else "skip"
                await self._client.act(state.id, acts.help_on(kind, execution, name), kind)
            elif isinstance(open, Waiting) and open.signal is not None and not state.ended:
                self._signals += 1
                signal = acts.signal(open.signal, f"{name}-{self._signals}", {"why": "at last"}, name)
                await self._client.act(state.id, signal, "signal", key=f"{state.id}/{name}-{self._signals}")
