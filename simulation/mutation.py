"""Breaks the engine on purpose: a mutant is a small change of its source text, compiled and put in place of the code.

    with applied(mutant): World(seed).run()

The code object of the function is exchanged, so whoever has the function already, by name or in a table, runs the
mutant. Text that is not there exactly once raises `MutantLostError`: a mutant never stops breaking things unnoticed.
The list of them is `mutants.py`.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

from domain.errors import TenutoError
from simulation.world import World

WITHIN = 1_000
"""Seeds in which every mutant must be found out."""


class MutantLostError(TenutoError):
    """Mutant {mutant!r} changes {where}, where its text stands {times} times, not once; the mutant must be mended."""


class Edit(NamedTuple):
    """In the function `where` (`package.module:Class.name`), `before` becomes `after`."""

    where: str
    before: str
    after: str


class Mutant(NamedTuple):
    """`broken` says what does not hold any more. `quick`: found so soon that every run of the tests tries it."""

    name: str
    broken: str
    edits: tuple[Edit, ...]
    quick: bool = False


class Killed(NamedTuple):
    """The first seed that failed, and how; `seed` None: none did."""

    mutant: Mutant
    seed: int | None
    problem: str

    @property
    def invariant(self) -> str:
        return self.problem.partition(":")[0]


def hunt(mutant: Mutant, seeds: int = WITHIN) -> Killed:
    """Runs worlds with the mutant in them until one fails."""
    with applied(mutant):
        for seed in range(seeds):
            problem = World(seed).run().problem
            if problem is not None:
                return Killed(mutant, seed, problem)
    return Killed(mutant, None, "")


@contextlib.contextmanager
def applied(mutant: Mutant) -> Iterator[None]:
    """Raises MutantLostError, before anything is changed, when the text of an edit is not there once."""
    edits: dict[FunctionType, list[Edit]] = {}
    for edit in mutant.edits:
        edits.setdefault(_function(mutant.name, edit), []).append(edit)
    changed = [(function, _mutated(mutant.name, those, function)) for function, those in edits.items()]
    before = [(function, function.__code__) for function in edits]
    try:
        for function, code in changed:
            function.__code__ = code
        yield
    finally:
        for function, code in before:
            function.__code__ = code


def _function(mutant: str, edit: Edit) -> FunctionType:
    module, _, path = edit.where.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for name in path.split("."):
            found = inspect.getattr_static(found, name)
    except (ImportError, AttributeError) as error:
        raise MutantLostError(mutant=mutant, where=edit.where, times=0) from error
    if isinstance(found, property):
        found = found.fget
    assert isinstance(found, FunctionType), f"{edit.where} is no function"
    return found


def _mutated(mutant: str, edits: list[Edit], function: FunctionType) -> CodeType:
    module = inspect.getmodule(function)
    assert isinstance(module, ModuleType)
    lines, first = inspect.getsourcelines(function)
    text = "".join(lines)
    for edit in edits:
        if text.count(edit.before) != 1:
            raise MutantLostError(mutant=mutant, where=edit.where, times=text.count(edit.before))
        text = text.replace(edit.before, edit.after)
    whole = inspect.getsource(module).splitlines(keepends=True)
    whole[first - 1 : first - 1 + len(lines)] = [text]
    compiled = compile("".join(whole), function.__code__.co_filename, "exec", dont_inherit=True)
    code = _code_of(compiled, function.__qualname__)
    assert code is not None, f"{edits[0].where} is compiled to nothing"
    return code


def _code_of(compiled: CodeType, qualname: str) -> CodeType | None:
    """The code of the function of that name, wherever it stands in a compiled module."""
    for constant in compiled.co_consts:
        if isinstance(constant, CodeType):
            found = constant if constant.co_qualname == qualname else _code_of(constant, qualname)
            if found is not None:
                return found
    return None
