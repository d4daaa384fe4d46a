"""Starting: what an instance is from its first moment on (S047–S049, S075, S089)."""

from __future__ import annotations

from tests.domain.given import Run

THREE = """
steps:
  - {id: a, type: task, action: http:shop/a, next: b}
  - {id: b, type: task, action: http:shop/b, next: c}
  - {id: c, type: task, action: http:shop/c}
"""


def test_three_steps_take_twelve_events() -> None:
    run = Run(THREE).start({"orderId": "o1"}, correlation_id="o1").serve()
    step = ["StepScheduled", "StepStarted", "StepCompleted"]
    assert run.names == ["InstanceStarted", "StatusChanged", *step, *step, *step, "StatusChanged"]
    assert run.statuses == ["pending", "running", "completed"]
    assert run.state.outcome == "succeeded"
