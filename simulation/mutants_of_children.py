"""Engines that are broken on purpose in what they do for parents and children; the others are in `mutants.py`."""

from __future__ import annotations

from simulation.mutation import Edit, Mutant

OF_CHILDREN: tuple[Mutant, ...] = (
    Mutant(
        "child goes on",
        "a child that its parent gives up does not hear of it",
        (
            Edit(
                "domain.turn:Turn.cancel",
                "open.work.is_awaited_child and execution in self.state.undo",
                "False",
            ),
        ),
    ),
    Mutant(
        "child not cancelled",
        "the undo of a child that runs is over before it has begun",
        (
            Edit(
                "engine.children:_Look.call_back",
                "await self._children.ask(child.id, self._ends)",
                "await self._tell_parent(None)",
            ),
        ),
        quick=True,
    ),
    Mutant(
        "child cancelled after the pause",
        "a child that is given up goes on while its parent is paused",
        (Edit("domain.steps.workflow:begin_child", " and not at_once", ""),),
    ),
    Mutant(
        "effects of a child stand",
        "a child that has ended is not called back when its parent is",
        (Edit("engine.children:_Look.call_back", "elif not child.undo or (", "elif True or ("),),
        quick=True,
    ),
    Mutant(
        "effects of a failed child forgotten",
        "a child that fails does not say what it has left behind",
        (Edit("engine.children:_Look.error", "standing = list(child.undo)", "standing: list[str] = []"),),
    ),
    Mutant(
        "another child beside what stands",
        "a child that has left effects behind may be tried again",
        (Edit("engine.children:_Look.error", " and not standing,", ","),),
    ),
    Mutant(
        "a person's other child",
        "an operator may retry a child that has left effects behind, which nobody knows of then",
        (Edit("domain.acts:retry_step", "if stuck.left_effects:", "if False:"),),
    ),
    Mutant(
        "second child of an attempt",
        "whoever looks starts a child, though there is one",
        (
            Edit(
                "engine.children:Children.start",
                "stream=look.child.id,",
                "stream=look.child.id[:-8] + self._clock.new_id()[-8:],",
            ),
        ),
        quick=True,
    ),
    Mutant(
        "one child for all attempts",
        "a retry waits for the child that has failed",
        (
            Edit(
                "domain.steps.workflow:child_of",
                "digest([parent, execution, attempt])",
                "digest([parent, execution])",
            ),
        ),
    ),
    Mutant(
        "child outlives its time",
        "the time of the step is not the child's",
        (Edit("engine.children:_Look.starts", "timeout_at=order.timeout_at", "timeout_at=None"),),
    ),
    Mutant(
        "end of a child not told",
        "a parent hears of its child's end when the next scan finds it",
        (Edit("engine.children:Children.__init__", "loop.hooks.end.append(self._look_at_parent)", "pass"),),
    ),
    Mutant(
        "lost children stay lost",
        "nobody looks for children that no memory knows",
        (Edit("engine.children:Children.scan", "self._look_at((row.instance, row.key))", "pass"),),
    ),
    Mutant(
        "child of a ghost",
        "what a person stood in for after a child is undone as if it were there",
        (Edit("domain.executing:completed", " and not _left_nothing(work)", ""),),
    ),
)
