"""Whether the schemas of the input and of signals are JSON Schemas, need nothing from outside, and come to an end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import jsonschema_rs

from domain.definition.document import Path
from domain.definition.model import DefinitionModel
from domain.definition.verification.report import Report
from domain.definition.verification.schema_work import SchemaWork

_FETCHED: Final = re.compile(r"Resource '(?P<uri>.*?)' is not present in a registry", re.DOTALL)


def check_schemas(model: DefinitionModel, report: Report) -> None:
    if model.input_schema is not None:
        _schema(model.input_schema, ("inputSchema",), report)
    for name, signal in model.signals.items():
        if signal.payload_schema is not None:
            _schema(signal.payload_schema, ("signals", name, "schema"), report)


def _schema(schema: dict[str, Any], path: Path, report: Report) -> None:
    try:
        jsonschema_rs.validator_for(schema, retriever=_fetch_nothing)
    except jsonschema_rs.ValidationError as error:
        place, problem = tuple(error.instance_path), error.message
        fetched = _FETCHED.match(problem)
        if fetched:
            uri = fetched["uri"]
            place = next(_references_to(uri, schema, ()), place)
            problem = f"a schema may only refer to itself, not to {uri}"
        report.add("bad-schema", f"this is no JSON Schema: {_short(problem)}", (*path, *place))
    except ValueError as error:
        report.add("bad-schema", f"this is no JSON Schema: {_short(str(error))}", path)
    else:
        endless = SchemaWork(schema).problem()
        if endless is not None:
            report.add("bad-schema", f"what this schema asks cannot be bounded: {endless}", path)


def _fetch_nothing(uri: str) -> Any:
    raise ValueError(uri)


def _references_to(uri: str, schema: Any, path: Path) -> Iterator[Path]:
    items = enumerate(schema) if isinstance(schema, list) else ()
    for key, value in schema.items() if isinstance(schema, dict) else items:
        if key == "$ref" and isinstance(value, str) and value.startswith(uri):
            yield (*path, key)
        yield from _references_to(uri, value, (*path, key))


def _short(problem: str) -> str:
    return problem if len(problem) <= 300 else f"{problem[:300]}…"
