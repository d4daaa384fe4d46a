"""A route with its documentation: what it takes and answers, by example, stands where it is defined.

`api/app.py` installs the tables of `api/routes/`; `api/openapi.py` makes the document of them. A *fast* route is served
without FastAPI's reading of parameters, which costs more than what the hot calls do themselves.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple, TypeVar

from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from api import problems
from api.errors import UnknownParameterError

Endpoint = Callable[..., Awaitable[Response]]
Decorated = TypeVar("Decorated", bound=Endpoint)

CALLER = ("Tenuto-Namespace", "Tenuto-Request-Id")
ACTOR = (*CALLER, "Tenuto-Actor")

HEADERS: Mapping[str, tuple[str, str]] = {
    "Tenuto-Namespace": ("Whose definitions and instances; `default` when left out.", "default"),
    "Tenuto-Actor": (
        "Who acts, while there is no login; the body's `actor` goes first, else `anonymous`.",
        "ada",
    ),
    "Tenuto-Request-Id": ("Kept with the events that the request leads to.", "r-17"),
    "Idempotency-Key": (
        "The same key and body are answered as the first time; another body is refused.",
        "o-1",
    ),
    "Last-Event-ID": ("Go on after this event: the position of the last one that was seen.", "4711"),
    "If-Match": ("The instance's version (its `ETag`); another one is 412.", '"7"'),
}


class Documented(NamedTuple):
    """One operation. `query` names the parameters of a fast route, each with what it is for and an example."""

    method: str
    path: str
    endpoint: Endpoint
    tag: str
    answers: Mapping[int, Any]
    body: type[Struct] | None
    example: Any
    media: str
    problems: Sequence[int]
    headers: Sequence[str]
    query: Mapping[str, tuple[str, str]]
    fast: bool


class FastRoute(APIRoute):
    """Documented as any other; the request goes straight to its endpoint."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        endpoint: Callable[[Request], Any] = self.endpoint
        return endpoint


class Routes:
    """The table of one part of the API."""

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self.table: list[Documented] = []

    def add(
        self,
        method: str,
        path: str,
        *,
        answers: Mapping[int, Any],
        body: type[Struct] | None = None,
        example: Any = None,
        media: str = "application/json",
        problems: Sequence[int] = (),
        headers: Sequence[str] = CALLER,
        query: Mapping[str, tuple[str, str]] | None = None,
        fast: bool = False,
    ) -> Callable[[Decorated], Decorated]:
        """`answers`: status → example. `problems`: the refusals worth naming beside 422 and 503."""

        def register(endpoint: Decorated) -> Decorated:
            asked = query or {}
            row = Documented(
                method,
                path,
                endpoint,
                self._tag,
                answers,
                body,
                example,
                media,
                problems,
                headers,
                asked,
                fast,
            )
            self.table.append(row)
            return endpoint

        return register

    def install(self, app: FastAPI) -> None:
        for row in self.table:
            summary, _, rest = inspect.cleandoc(row.endpoint.__doc__ or "").partition("\n\n")
            app.router.add_api_route(
                row.path,
                row.endpoint,
                methods=[row.method],
                tags=[row.tag],
                summary=" ".join(summary.split()),
                description=" ".join(rest.split()),
                operation_id=row.endpoint.__name__.strip("_"),
                status_code=min(row.answers),
                response_class=Response,
                responses=_answers(row),
                openapi_extra=_extra(row),
                dependencies=None if row.fast else [Depends(refuse_unknown_parameters)],
                route_class_override=FastRoute if row.fast else APIRoute,
            )


async def refuse_unknown_parameters(request: Request) -> None:
    """A misspelt filter must not answer with everything."""
    if request.url.query:
        route: APIRoute = request.scope["route"]
        refuse_others(request.query_params, [parameter.alias for parameter in route.dependant.query_params])


def refuse_others(asked: Iterable[str], known: Sequence[str]) -> None:
    """Raises UnknownParameterError for the first query parameter that is none of `known`."""
    for name in asked:
        if name not in known:
            raise UnknownParameterError(name=name, known=", ".join(known) or "none")


def _answers(row: Documented) -> dict[int | str, dict[str, Any]]:
    said: dict[int | str, dict[str, Any]] = {
        status: {"description": HTTPStatus(status).phrase, **_content(example)}
        for status, example in row.answers.items()
    }
    for status in sorted({*row.problems, 422, 503}):
        said[status] = {
            "description": HTTPStatus(status).phrase,
            "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    return said


class Stream(str):
    """An example of an answer that goes on: `text/event-stream`."""

    __slots__ = ()


def _content(example: Any) -> dict[str, Any]:
    if isinstance(example, Stream):
        return {"content": {"text/event-stream": {"schema": {"type": "string"}, "example": str(example)}}}
    if isinstance(example, str):
        return {"content": {"text/plain": {"schema": {"type": "string"}, "example": example}}}
    return {"content": {"application/json": {"schema": {"type": "object"}, "example": example}}}


def _extra(row: Documented) -> dict[str, Any]:
    parameters = [_parameter("header", name, *HEADERS[name]) for name in row.headers]
    parameters += [_parameter("query", name, *said) for name, said in row.query.items()]
    extra: dict[str, Any] = {"parameters": parameters} if parameters else {}
    if row.body is not None:
        schema: dict[str, Any] = {"$ref": f"#/components/schemas/{row.body.__name__}"}
        extra["requestBody"] = {
            "required": True,
            "content": {row.media: {"schema": schema, "example": row.example}},
        }
    elif row.example is not None:
        schema = {"type": "string" if isinstance(row.example, str) else "object"}
        extra["requestBody"] = {
            "required": True,
            "content": {row.media: {"schema": schema, "example": row.example}},
        }
    return extra


def _parameter(place: str, name: str, description: str, example: str) -> dict[str, Any]:
    return {
        "in": place,
        "name": name,
        "required": False,
        "description": description,
        "schema": {"type": "string"},
        "example": example,
    }
