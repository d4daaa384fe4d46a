"""Engines broken on purpose do not survive in the simulated worlds; and a mutant that breaks nothing is noticed."""

from __future__ import annotations

import pytest

from domain.evolve import evolve
from domain.signals import cancel
from simulation.command import mutants
from simulation.mutants import MUTANTS
from simulation.mutation import Edit, Mutant, MutantLostError, applied, hunt

QUICK = [mutant for mutant in MUTANTS if mutant.quick]
NAMED = {
    "no version check",
    "no token check",
    "undo forwards",
    "timer kept",
    "double claim",
    "lost signal",
    "late success not undone",
    "retry count reset",
    "cancel ignored",
    "position outside its transaction",
}


def test_there_are_enough_of_them_each_with_a_name_of_its_own() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert len(set(names)) == len(names) >= 30
    assert set(names) >= NAMED
    assert len(QUICK) >= 10


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_its_text_is_still_there_and_leaves_no_trace(mutant: Mutant) -> None:
    code = cancel.__code__
    with applied(mutant):
        pass
    assert cancel.__code__ is code


@pytest.mark.parametrize("mutant", QUICK, ids=lambda mutant: mutant.name)
def test_it_is_found_out(mutant: Mutant) -> None:
    killed = hunt(mutant)
    assert killed.seed is not None, f"{mutant.name} survived"
    assert killed.invariant.startswith("I"), killed.problem


@pytest.mark.parametrize("where", ["domain.evolve:evolve", "domain.evolve:gone", "domain.gone:evolve"])
def test_a_mutant_whose_text_has_gone_says_so(where: str) -> None:
    lost = Mutant("lost", "nothing", (Edit(where, "state.version += 2", "pass"),))
    code = evolve.__code__
    with pytest.raises(MutantLostError, match=rf"'lost' changes {where}.*0 times"), applied(lost):
        pass
    assert evolve.__code__ is code


def test_a_mutant_that_breaks_nothing_survives_and_fails_the_hunt(monkeypatch: pytest.MonkeyPatch) -> None:
    tame = Mutant(
        "tame", "nothing", (Edit("domain.evolve:evolve", "state.version += 1", "state.version += 1 + 0"),)
    )
    monkeypatch.setattr("simulation.command.MUTANTS", (tame,))
    said: list[str] = []
    assert mutants(2, jobs=1, write=said.append) == 1
    assert said[-1] == "\n1 mutants, 1 of them survived 2 seeds"
