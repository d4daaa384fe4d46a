"""Whether every path that an expression reads leads somewhere: to data that is there, to a name that exists there."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from domain.definition.fields import RESERVED
from domain.definition.verification.dataflow import (
    LAST_ERROR,
    DataFlow,
    deadline_name,
    flow_of_data,
    written_by,
)
from domain.definition.verification.flow import live_undo_steps
from domain.definition.verification.graph import SUCCEEDED, Graph, join_of
from domain.definition.verification.outline import Outline, Place
from domain.definition.verification.report import Report, did_you_mean, listed
from domain.definition.verification.uses import Moment, Site, Use, path_text, sites_of
from domain.steps.scope import ScopeModel

_RUNNING: Final[frozenset[Moment]] = frozenset({"signal", "reason", "result", "step", "next"})


class _Name(NamedTuple):
    """A reserved name: the fields beneath it (None: any), when it exists, and that in words."""

    fields: tuple[str, ...] | None
    moments: frozenset[Moment]
    where: str


_NAMES: Final[dict[str, _Name]] = {
    "input": _Name(None, _RUNNING | {"labels"}, "everywhere but in outputs"),
    "instance": _Name(("id", "correlationId", "startedAt"), _RUNNING, "once the instance runs"),
    "now": _Name((), _RUNNING, "once the instance runs"),
    "deadlines": _Name(None, _RUNNING, "once the instance runs"),
    "lastError": _Name(("step", "message", "code", "timestamp"), _RUNNING, "once a step has failed"),
    "signal": _Name(
        ("id", "name", "payload"), frozenset({"signal", "reason"}), "in `set` and `reason` of a signal"
    ),
    "undo": _Name(
        ("step", "execution", "input", "output", "reason"),
        frozenset(),
        "in steps that a `compensateWith` names",
    ),
    "compensation": _Name(("reason", "trigger"), frozenset(), "in steps that a `compensateWith` names"),
    "end": _Name(("reason", "outcome"), frozenset({"result"}), "in `results`"),
    "item": _Name(None, frozenset(), "inside a map, and in the undo of its steps"),
    "index": _Name((), frozenset(), "inside a map, and in the undo of its steps"),
}
_WHERE: Final[dict[Moment, str]] = {"signal": "the signal", "result": "the end"}
_IN_UNDO: Final = ("undo", "compensation")
_IN_MAP: Final = ("item", "index")
# Without a schema that says so, a path is taken for a boolean when its last name reads like a yes-or-no question.
_BOOLEAN: Final = re.compile(
    r"(?:is|has|have|can|could|should|was|were|will|did|does|needs?|allows?|use|with|no|not)[A-Z_].*"
    r"|.*(?:[a-df-z]ed|able|ible)"
    r"|(?:.*[a-z_])?(?:[oO]k|OK|[vV]alid|[aA]ctive|[sS]uccess|[sS]uccessful|[pP]aid|[dD]one|[fF]ound|[sS]ent|[fF]lag)"
)


class Problem(NamedTuple):
    code: str
    message: str
    fix: str | None = None


class Source(NamedTuple):
    """What sets a name, in words; `map` is the innermost one around it, which keeps it for each item, or empty."""

    words: str
    map: str = ""


Sources = dict[str, list[Source]]


def check_names(outline: Outline, report: Report) -> None:
    """Names that are nowhere, or not there; and paths that ask for existence where truth is meant."""
    sources = _sources(outline)
    for site in sites_of(outline):
        use = site.use
        if use.tested and _reads_like_a_boolean(use, outline.model.input_schema):
            report.add(
                "bare-path-condition",
                f"`{use.text}` asks whether it exists, and holds for `false` too",
                use.path,
                fix=f"write `{use.text} == true`",
                offset=use.offset,
            )
        if not use.keys:
            continue
        problem = _problem(site, sources, outline)
        if problem is not None:
            report.add(problem.code, problem.message, use.path, fix=problem.fix, offset=use.offset)


def check_data(outline: Outline, graph: Graph, report: Report) -> None:
    """Data that cannot be there yet, or is there on some ways only."""
    flow = flow_of_data(outline, graph)
    sources = _sources(outline)
    undo_steps = live_undo_steps(outline, graph)
    for site in sites_of(outline):
        use = site.use
        bit = flow.bit(_name_of(use), _sees_from(site, outline))
        known = None if not bit or use.optional else _known_at(site, flow, undo_steps)
        if known is None:
            continue
        surely, perhaps = known
        where = repr(site.place.step.id) if site.place else _WHERE[site.moment]
        by_whom = _by_whom(site, sources, outline)
        if not perhaps & bit:
            report.add(
                "data-used-too-early",
                f"`{use.text}` is set by {by_whom}, which cannot come before {where}",
                use.path,
                offset=use.offset,
            )
        elif not surely & bit:
            report.add(
                "data-maybe-unset",
                f"`{use.text}` is set by {by_whom}, which does not come before {where} on every way",
                use.path,
                fix=_advice_to_guard(site),
                offset=use.offset,
            )


def _advice_to_guard(site: Site) -> str:
    if site.moment == "next":
        return f"ask for it first: `{path_text(site.use.keys[:1])} && …`"
    return f"write {{$coalesce: [{site.use.text}, …]}} with a default"


def _sources(outline: Outline) -> Sources:
    """Name in `$` → what sets it."""
    found: Sources = {}
    for place in outline.by_id.values():
        for name in written_by(place.step):
            source = Source(f"step {place.step.id!r}", place.maps[-1] if place.maps else "")
            found.setdefault(name, []).append(source)
    for signal, model in outline.model.signals.items():
        for name in model.set or ():
            found.setdefault(name, []).append(Source(f"signal {signal!r}"))
    return found


def _sees_from(site: Site, outline: Outline) -> Place | None:
    """Where a use stands as far as the data of items is concerned; an undo sees what is outside all maps."""
    return None if site.place is None or site.place.step.id in outline.undoes else site.place


def _visible(sources: list[Source], site: Site, outline: Outline) -> list[str]:
    """In words, those of the sources whose data the use can see."""
    place = _sees_from(site, outline)
    around = ["", *(() if place is None else place.maps)]
    return [source.words for source in sources if source.map in around]


def _by_whom(site: Site, sources: Sources, outline: Outline) -> str:
    match site.use.keys:
        case ("lastError", *_):
            return "a step that fails"
        case ("deadlines", str(name), *_):
            after = outline.model.deadlines[name].after
            return "the start" if after == "start" else f"the end of {after.step!r}"
        case (str(name), *_):
            first, *more = _visible(sources[name], site, outline)
            return f"{first} and {len(more)} more" if len(more) > 1 else " and ".join([first, *more])
        case _:
            raise AssertionError(f"{site.use.text} has no bit")


def _name_of(use: Use) -> str:
    match use.keys:
        case ("lastError", *_):
            return LAST_ERROR
        case ("deadlines", str(name), *_):
            return deadline_name(name)
        case (str(name), *_) if name not in RESERVED:
            return name
        case _:
            return ""


def _known_at(site: Site, flow: DataFlow, undo_steps: set[str]) -> tuple[int, int] | None:
    """What is surely and what is perhaps there; None where it makes no difference or the place is never reached."""
    match site.moment:
        case "labels" | "wait-output" | "map-output" | "reason":
            return None
        case "signal":
            return flow.at_start, flow.everything
        case "result":
            sure = flow.at_start
            if site.outcome == "succeeded":
                sure = flow.surely.get(SUCCEEDED, sure)
            return sure, flow.everything
        case "step" | "next":
            assert site.place is not None
    step = site.place.step
    if step.id in undo_steps:
        return flow.sure_for_undo(step.id), flow.everything
    node = join_of(step.id) if site.moment == "next" and isinstance(step, ScopeModel) else step.id
    if node not in flow.surely:
        return None
    wrote = flow.wrote.get(node, 0) if site.moment == "next" else 0
    return flow.surely[node] | wrote, flow.perhaps[node] | wrote | flow.from_beside(site.place)


def _problem(site: Site, sources: Sources, outline: Outline) -> Problem | None:
    """What is wrong with the name that a use begins with."""
    text, root = site.use.text, site.use.keys[0]
    if site.moment == "wait-output":
        message = f"in a wait's `output`, `$` is {{payload}}, so `{text}` is nothing"
        return None if root == "payload" else Problem("unknown-data", message, "write $.payload")
    if site.moment == "map-output":
        message = f"in a map's `output`, `$` is the list of what its items put out, so `{text}` is nothing"
        return None if isinstance(root, int) else Problem("unknown-data", message, "write $, or $[0]")
    if isinstance(root, str) and root in _NAMES:
        return _reserved(site, root, _NAMES[root], outline)
    if site.moment == "labels":
        message = f"labels are set at the start, when only `$.input` is there, not `{text}`"
        return Problem("data-used-too-early", message, "read it from $.input")
    if isinstance(root, str) and root in sources:
        return (
            None if _visible(sources[root], site, outline) else _of_an_item(site, sources[root][0], outline)
        )
    return Problem(
        "unknown-data", f"nothing sets `{path_text(site.use.keys[:1])}`", _advice(site.use, sources, outline)
    )


def _of_an_item(site: Site, source: Source, outline: Outline) -> Problem:
    message = (
        f"`{site.use.text}` is set by {source.words} for an item of map {source.map!r}, and not seen outside"
    )
    put_out = [f"$.{name}" for name in written_by(outline.by_id[source.map].step)]
    fix = f"read what the map puts out, {listed(put_out)}" if put_out else None
    if site.place is not None and site.place.step.id in outline.undoes:
        fix = "read it from $.undo.input or $.undo.output"
    return Problem("data-of-an-item", message, fix)


def _exists_here(site: Site, root: str, outline: Outline) -> bool:
    """Whether a reserved name that only exists in some steps does in this one."""
    if site.place is None:
        return False
    undone = outline.undoes.get(site.place.step.id, [])
    if root in _IN_MAP:
        return all(outline.by_id[one].maps for one in undone) if undone else bool(site.place.maps)
    return root in _IN_UNDO and bool(undone)


def _reserved(site: Site, root: str, name: _Name, outline: Outline) -> Problem | None:
    if site.moment not in name.moments and not _exists_here(site, root, outline):
        return Problem("misplaced-name", f"`$.{root}` exists only {name.where}")
    fields: tuple[str, ...] | None = name.fields
    depth = 1
    keys = site.use.keys
    if root == "input":
        return _ruled_out(keys, outline.model.input_schema)
    if root == "deadlines" and len(keys) > 1:
        if keys[1] not in outline.model.deadlines:
            fix = did_you_mean(str(keys[1]), outline.model.deadlines)
            return Problem("unknown-data", f"there is no deadline {keys[1]!r}", fix)
        fields, depth = ("at", "remainingMs"), 2
    if fields is None or len(keys) == depth or keys[depth] in fields:
        return None
    there = f"it has {', '.join(fields)}" if fields else "it is a single value"
    message = f"`{path_text(keys[:depth])}` has no {keys[depth]!r}; {there}"
    return Problem("unknown-data", message, did_you_mean(str(keys[depth]), fields))


def _ruled_out(keys: tuple[str | int, ...], schema: Any) -> Problem | None:
    """What no input can hold, because its schema says `additionalProperties: false` and does not name it."""
    for depth, key in enumerate(keys[1:], 1):
        known = _properties(schema)
        if key not in known:
            closed = isinstance(schema, dict) and schema.get("additionalProperties") is False
            if not closed or isinstance(key, int) or schema.keys() & {"patternProperties", "$ref"}:
                return None
            message = f"`inputSchema` allows no {key!r} in `{path_text(keys[:depth])}`"
            return Problem("unknown-data", message, did_you_mean(key, known))
        schema = known[key]
    return None


def _advice(use: Use, sources: Sources, outline: Outline) -> str | None:
    root = str(use.keys[0])
    if root in _properties(outline.model.input_schema):
        return f"write $.input.{root}"
    place = outline.by_id.get(root)
    if place is not None and (written := written_by(place.step)):
        return f"step {root!r} sets {listed(f'$.{name}' for name in written)}"
    known = did_you_mean(root, {*sources, *_NAMES})
    return known or f"write $.input.{root} if it comes with the input"


def _properties(schema: Any) -> dict[str, Any]:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    return properties if isinstance(properties, dict) else {}


def _reads_like_a_boolean(use: Use, input_schema: dict[str, Any] | None) -> bool:
    """Whether the input's schema says that it is a boolean or, where it says nothing, its name does."""
    if not use.keys:
        return False
    if use.keys[0] == "input":
        schema: Any = input_schema
        for key in use.keys[1:]:
            schema = _properties(schema).get(str(key))
        if isinstance(schema, dict) and "type" in schema and len(use.keys) > 1:
            return bool(schema["type"] == "boolean")
    return _BOOLEAN.fullmatch(str(use.keys[-1])) is not None
