"""Every projection there is. A new one is a `.py`, a `.sql`, and a line here."""

from __future__ import annotations

from collections.abc import Mapping

from projections.alerts import Alerts
from projections.audit import Audit
from projections.deadlines import Deadlines
from projections.definition_statistics import DefinitionStatistics
from projections.instances import Instances
from projections.projection import Factory
from projections.queues import Queues
from projections.step_executions import StepExecutions
from projections.transitions import Transitions
from projections.words import Words

PROJECTIONS: Mapping[str, Factory] = {
    Instances.name: Instances,
    StepExecutions.name: StepExecutions,
    Transitions.name: Transitions,
    Words.name: Words,
    DefinitionStatistics.name: DefinitionStatistics,
    Queues.name: Queues,
    Alerts.name: Alerts,
    Deadlines.name: Deadlines,
    Audit.name: Audit,
}
