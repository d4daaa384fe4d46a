"""What clients and operators ask of an instance: each makes its command once the engine has given time and id."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from domain import commands as c
from domain.commands import Command
from domain.definition.program import Program
from engine.messages import Envelope

Act = Callable[[Envelope, str], Command]
"""From what the engine gives to every command, and the id of the request."""


def _fields(env: Envelope, id: str, actor: str) -> dict[str, Any]:
    """What every act carries."""
    return {
        "at": env.at,
        "command_id": env.command_id,
        "request_id": id,
        "actor": actor,
        "reason": f"{actor} wants it",
    }


def plain(kind: str, actor: str) -> Act:
    def make(env: Envelope, id: str) -> Command:
        fields = _fields(env, id, actor)
        match kind:
            case "cancel":
                return c.CancelInstance(**fields)
            case "pause":
                return c.PauseInstance(**fields)
            case "resume":
                return c.ResumeInstance(**fields)
            case "data":
                return c.ChangeData(**fields, data={"flag": 0, "missing": 1})
            case "undo":
                return c.UndoInstance(**fields)
            case _:
                return c.TerminateInstance(**fields)

    return make


def migrate(target: Program, steps: dict[str, str], actor: str) -> Act:
    def make(env: Envelope, id: str) -> Command:
        return c.MigrateInstance(**_fields(env, id, actor), target=target, steps=steps)

    return make


def signal(name: str, signal_id: str, payload: object, actor: str) -> Act:
    def make(env: Envelope, id: str) -> Command:
        return c.SendSignal(**_fields(env, id, actor), signal_id=signal_id, name=name, payload=payload)

    return make


def nonsense(random: Random, actor: str) -> Act:
    """What no instance can grant, or what it must refuse with a type."""
    kind = random.randrange(4)

    def make(env: Envelope, id: str) -> Command:
        fields = _fields(env, id, actor)
        if kind == 0:
            return c.SendSignal(**fields, signal_id="x", name="unheard-of", payload=None)
        if kind == 1:
            return c.RetryStep(**fields, execution="nowhere#1")
        if kind == 2:
            return c.ChangeData(**fields, data={"input": 1})
        return c.CompleteStep(**fields, execution="s1#9", attempt=1, token="forged", output=1)  # noqa: S106

    return make


def help_on(kind: str, execution: str, actor: str) -> Act:
    def make(env: Envelope, id: str) -> Command:
        fields = _fields(env, id, actor)
        if kind == "retry":
            return c.RetryStep(**fields, execution=execution)
        if kind == "skip":
            return c.SkipStep(**fields, execution=execution)
        if kind == "fail":
            return c.FailStuckStep(**fields, execution=execution)
        return c.ResolveStep(**fields, execution=execution, output={"flag": 0})

    return make
