"""What became of one history on another definition."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

Went = Literal["same", "diverged", "needsResult"]


class Missing(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What was never recorded: the result of an attempt, or a signal."""

    execution: str
    action: str | None = None
    attempt: int | None = None
    signal: str | None = None


class Verdict(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """`same`: it goes the same way. `diverged`: at `step` it goes another one. `needsResult`: the first thing that is
    different is something that never ran, so what would have come of it is unknown.

    `version` is that of the recorded command at which the ways part, `recorded` and `now` say which way each goes,
    `why` what decided it. `ends` is the outcome that the new definition leads to, as far as what is recorded carries
    it; `missing` is what keeps it from going on. `changed_inputs` are executions that would be asked with other input.
    """

    went: Went
    ends: str | None = None
    recorded_end: str | None = None
    version: int | None = None
    step: str | None = None
    execution: str | None = None
    recorded: str | None = None
    now: str | None = None
    why: str | None = None
    missing: list[Missing] = field(default_factory=list)
    changed_inputs: list[str] = field(default_factory=list)
    changed_result: bool = False
    cut: bool = False  # It went on for so long that it was not followed to its end.
