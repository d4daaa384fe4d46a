"""The expression language of definitions: RFC 9535 compiled to closures, without code and without loops.

`compile_condition` for decisions, `compile_value` for inputs, outputs and timeouts; what they refer to is in
`references.py`, for verification, and what they look through in `costs.py`. Start reading at `conditions.py` and
`values.py`; beneath them stand `parsing.py`, `queries.py`, `comparisons.py`, `patterns.py` and `paths.py`. Nothing here
knows a clock or a store.
"""

from __future__ import annotations

from domain.expressions.conditions import Condition, Scope, compile_condition, compile_query
from domain.expressions.paths import MISSING, Missing
from domain.expressions.references import Reference, paths_of_condition, paths_of_value
from domain.expressions.values import OperandError, Value, compile_value

__all__ = [
    "MISSING",
    "Condition",
    "Missing",
    "OperandError",
    "Reference",
    "Scope",
    "Value",
    "compile_condition",
    "compile_query",
    "compile_value",
    "paths_of_condition",
    "paths_of_value",
]
