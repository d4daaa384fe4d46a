"""Every projection there is. A new one is a `.py`, a `.sql`, and a line here."""

from __future__ import annotations

from collections.abc import Mapping

from projections.audit import Audit
from projections.instances import Instances
from projections.projection import Factory
from projections.step_executions import StepExecutions
from projections.transitions import Transitions

PROJECTIONS: Mapping[str, Factory] = {
    Instances.name: Instances,
    StepExecutions.name: StepExecutions,
    Transitions.name: Transitions,
    Audit.name: Audit,
}
