"""What can be wrong with a definition that is well formed: found at deploy, with step and position.

The questions are asked in `verification/`, one module for each kind; all findings there are stand in
`verification/codes.py` and docs/reference/findings.md. Nothing here knows whether services or workers exist.
"""

from __future__ import annotations

from domain.definition.document import Document
from domain.definition.findings import Finding
from domain.definition.model import DefinitionModel
from domain.definition.verification.choices import check_choices
from domain.definition.verification.data import check_data, check_names
from domain.definition.verification.effects import check_effects
from domain.definition.verification.flow import check_flow, check_waits
from domain.definition.verification.graph import build_graph
from domain.definition.verification.outline import outline_of
from domain.definition.verification.report import Report
from domain.definition.verification.schemas import check_schemas
from domain.definition.verification.targets import BLOCKING, check_targets
from domain.definition.verification.times import check_paths_in_time, check_times


def verify(model: DefinitionModel, document: Document) -> list[Finding]:
    """Return all findings, errors and warnings, in the order of the document. `document` is what `model` was read from.

    While a step is missing or misplaced, the flow of control and of data is not judged: one slip is one finding.
    """
    report = Report(document)
    outline = outline_of(model)
    check_schemas(model, report)
    check_targets(outline, report)
    check_choices(outline, report)
    check_waits(outline, report)
    check_times(outline, report)
    check_names(outline, report)
    if not report.has(BLOCKING):
        graph = build_graph(outline)
        check_flow(outline, graph, report)
        check_paths_in_time(outline, graph, report)
        check_data(outline, graph, report)
        check_effects(outline, graph, report)
    return report.findings()
