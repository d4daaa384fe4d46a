"""Definitions: deployed, verified, read. What is wrong with one is a list of findings, each with its place."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from api.bodies import read_bytes
from api.errors import NameMismatchError, UnknownServicesError, UnsupportedMediaTypeError
from api.routes import examples
from api.routes.paging import DEFAULT_PAGE, Cursor, Limit, page
from api.routing import ACTOR, Routes
from api.services import unknown_services
from api.wiring import caller_of, namespace_of, reply, wiring_of
from domain.definition.findings import Finding, refusal
from domain.definition.parse import Deployable, read_definition
from domain.times import rfc3339
from engine.messages import DefinitionInfo

routes = Routes("definitions")

MEDIA = {
    "application/yaml": "yaml",
    "application/x-yaml": "yaml",
    "text/yaml": "yaml",
    "text/x-yaml": "yaml",
    "application/json": "json",
}


@routes.add(
    "PUT",
    "/v1/definitions/{name}",
    answers={201: examples.DEPLOYED, 200: examples.DEPLOYED | {"created": False, "position": None}},
    example=examples.DEFINITION_TEXT,
    media="application/yaml",
    problems=(409, 413, 415),
    headers=ACTOR,
)
async def deploy_definition(
    request: Request,
    name: str,
    *,
    dry_run: Annotated[bool, Query(alias="dryRun", description="Verify only; nothing is stored.")] = False,
    strict: Annotated[bool, Query(description="Refuse services without a URL and unknown children.")] = False,
    source: Annotated[
        str | None,
        Query(
            max_length=500, description="Where the text came from; findings name it.", examples=["order.yaml"]
        ),
    ] = None,
) -> Response:
    """Deploy a definition.

    YAML 1.2 or JSON, by its content type. New text is 201, with the next integer as version when it has none;
    identical text is 200; other text under a deployed version is 409. Faults are 422 with `findings`.
    """
    deployable = await _deployable(request, name, source)
    wiring, caller = wiring_of(request), caller_of(request)
    children = await wiring.engine.findings_of_children(caller.namespace, deployable)
    if any(finding.severity == "error" or strict for finding in children):
        raise refusal(
            [*deployable.findings, *(msgspec.structs.replace(each, severity="error") for each in children)]
        )
    unknown = unknown_services(deployable, wiring.services, severity="error" if strict else "warning")
    if strict and unknown:
        named = ", ".join(sorted({finding.message for finding in unknown}))
        raise UnknownServicesError(services=named, findings=unknown)
    deployable = msgspec.structs.replace(deployable, findings=[*deployable.findings, *children, *unknown])
    if dry_run:
        return reply(_verified(deployable))
    deployed = await wiring.engine.deploy(
        caller.namespace, deployable, actor=caller.actor, request_id=caller.request_id
    )
    where = f"/v1/definitions/{deployed.name}/versions/{deployed.version}"
    return reply(deployed, 201 if deployed.created else 200, {"Location": where})


async def _deployable(request: Request, name: str, source: str | None) -> Deployable:
    kind = request.headers.get("content-type", "application/yaml").partition(";")[0].strip().lower()
    if kind not in MEDIA:
        raise UnsupportedMediaTypeError(content_type=kind, accepted=" or ".join(MEDIA))
    source = source or f"{name}.{MEDIA[kind]}"
    raw = await read_bytes(request)
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line, before = raw.count(b"\n", 0, error.start) + 1, raw.rfind(b"\n", 0, error.start)
        said = f"the text is not UTF-8: byte {raw[error.start]:#04x}"
        raise refusal([Finding("bad-encoding", "error", said, source, line, error.start - before)]) from None
    # Reading takes milliseconds per KiB: everybody else goes on meanwhile.
    deployable = await asyncio.to_thread(read_definition, text, source)
    if deployable.model.name != name:
        raise NameMismatchError(name=deployable.model.name, address=name)
    return deployable


def _verified(deployable: Deployable) -> dict[str, Any]:
    """What a deploy would answer, as far as it is known without one."""
    return {
        "name": deployable.model.name,
        "version": deployable.model.version,
        "hash": deployable.hash,
        "created": False,
        "findings": deployable.findings,
        "position": None,
    }


@routes.add(
    "GET", "/v1/definitions", answers={200: {"definitions": [examples.DEFINITION_LINE], "next": None}}
)
async def list_definitions(
    request: Request, *, limit: Limit = DEFAULT_PAGE, cursor: Cursor = None
) -> Response:
    """List what is deployed.

    The newest version of every definition, by name.
    """
    newest = await wiring_of(request).engine.definitions(namespace_of(request))
    found = [
        info for info in sorted(newest, key=lambda info: info.name) if cursor is None or info.name > cursor
    ]
    shown = found[:limit]
    more = shown[-1].name if len(found) > limit else None
    return reply({"definitions": [_line(info) for info in shown], "next": more})


@routes.add("GET", "/v1/definitions/{name}", answers={200: examples.DEFINITION}, problems=(404,))
async def get_definition(request: Request, name: str) -> Response:
    """Read the newest version of a definition.

    `source` is the text as it was sent, `document` its content, `findings` the warnings it was deployed with.
    """
    return reply(_whole(await wiring_of(request).engine.definition(namespace_of(request), name, None)))


@routes.add(
    "GET",
    "/v1/definitions/{name}/versions",
    answers={200: {"versions": [examples.DEFINITION_LINE], "next": None}},
    problems=(404,),
)
async def list_versions(
    request: Request, name: str, *, limit: Limit = DEFAULT_PAGE, cursor: Cursor = None
) -> Response:
    """List the versions of a definition.

    Oldest first.
    """
    engine, namespace = wiring_of(request).engine, namespace_of(request)
    versions = await engine.definition_versions(namespace, name)
    if not versions:
        await engine.definition(namespace, name, None)  # Says that there is none.
    shown, more = page(versions, limit, cursor)
    return reply({"versions": [_line(info) for info in shown], "next": more})


@routes.add(
    "GET",
    "/v1/definitions/{name}/versions/{version}",
    answers={200: examples.DEFINITION},
    problems=(404,),
)
async def get_definition_version(request: Request, name: str, version: str) -> Response:
    """Read one version of a definition.

    A version never changes.
    """
    return reply(_whole(await wiring_of(request).engine.definition(namespace_of(request), name, version)))


def _whole(info: DefinitionInfo) -> dict[str, Any]:
    return _line(info) | {"source": info.source, "document": info.document, "findings": info.findings}


def _line(info: DefinitionInfo) -> dict[str, Any]:
    return {
        "namespace": info.namespace,
        "name": info.name,
        "version": info.version,
        "hash": info.hash,
        "deployedAt": rfc3339(info.deployed_at),
        "deployedBy": info.deployed_by,
    }
