"""The kinds of step there are. A new kind is a new file here and one line in this table."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from domain.steps.compensate import CompensateModel
from domain.steps.decision import DecisionModel
from domain.steps.ending import FailModel, SucceedModel
from domain.steps.map import MapModel
from domain.steps.parallel import ParallelModel
from domain.steps.task import TaskModel
from domain.steps.wait import WaitModel
from domain.steps.workflow import WorkflowModel

AnyStep = Annotated[
    TaskModel
    | DecisionModel
    | ParallelModel
    | MapModel
    | WaitModel
    | WorkflowModel
    | CompensateModel
    | SucceedModel
    | FailModel,
    Field(discriminator="type"),
]

KINDS = ("task", "decision", "parallel", "map", "wait", "workflow", "compensate", "succeed", "fail")

for scope in (ParallelModel, MapModel):
    scope.model_rebuild(_types_namespace={"AnyStep": AnyStep})
