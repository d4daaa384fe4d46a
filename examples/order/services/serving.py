"""What the three services share: POST an order to an endpoint, answer JSON, remember the call.

A Tenuto service is any HTTP server. All it is asked for is in `answer` below: do the work once per
`Idempotency-Key`, and answer 2xx with JSON, or a problem (RFC 9457) whose `type` ends in the error's name.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiohttp import web

from examples.order.ledger import Json, Ledger


class RefusedError(Exception):
    """A refusal. It has no effect; `members` travel to the workflow as the error's details."""

    def __init__(self, status: int, error_type: str, detail: str, **members: object) -> None:
        super().__init__(detail)
        self.status = status
        self.body = {"type": f"/problems/{error_type}", "status": status, "detail": detail, **members}


@dataclass(frozen=True)
class Call:
    """What an endpoint works from. `call["orderId"]` is a member of the body, refused when it is missing."""

    body: Json
    key: str
    at: datetime
    earlier: int  # calls that came before this one under the same key

    def __getitem__(self, member: str) -> Any:
        if member not in self.body:
            raise RefusedError(400, "BadRequestError", f"the body has no {member!r}")
        return self.body[member]

    def new_id(self, prefix: str) -> str:
        """An id made from the idempotency key: the same call gets the same id, in whatever process."""
        return f"{prefix}_{hashlib.sha256(self.key.encode()).hexdigest()[:12]}"


Endpoint = Callable[[Call], Json]


def make_app(endpoints: Mapping[str, Endpoint], ledger: Ledger, delay_s: float) -> web.Application:
    """The service: its endpoints, `/healthz`, and `/ledger` with all calls and effects."""

    async def answer(request: web.Request) -> web.Response:
        endpoint = endpoints[request.path]
        body = await request.text()
        received = ledger.receive(
            path=request.path,
            key=request.headers.get("Idempotency-Key", ""),
            instance=request.headers.get("Tenuto-Instance", ""),
            step=request.headers.get("Tenuto-Step", ""),
            attempt=int(request.headers.get("Tenuto-Attempt", 1)),
            body=body,
        )
        try:
            call = Call(_parse(body), _required(received.key), received.at, received.earlier)
            status, result = 200, ledger.once(received, lambda: endpoint(call))
        except RefusedError as problem:
            status, result = problem.status, problem.body
        # `--delay-ms` waits here, where the effect is had and the answer not yet given: the worst moment to
        # kill this service, or whoever called it.
        await asyncio.sleep(delay_s)
        ledger.answered(received, status)
        kind = "application/json" if status == 200 else "application/problem+json"
        return web.json_response(result, status=status, content_type=kind)

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def dump(_: web.Request) -> web.Response:
        return web.json_response({"calls": ledger.calls(), "effects": ledger.effects()})

    app = web.Application()
    app.add_routes([web.post(path, answer) for path in endpoints])
    app.add_routes([web.get("/healthz", healthz), web.get("/ledger", dump)])
    return app


def serve(service: str, endpoints: Mapping[str, Endpoint]) -> None:
    """Run the service from its command line until SIGTERM or SIGINT; print `ready <url>` once it listens."""
    parser = argparse.ArgumentParser(prog=f"python -m examples.order.services.{service}")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one and says which")
    parser.add_argument("--ledger", required=True, metavar="FILE.sqlite", help="its calls and effects")
    parser.add_argument("--delay-ms", type=float, default=0, help="time between each effect and its answer")
    args = parser.parse_args()

    listener = socket.create_server((args.host, args.port))
    url = f"http://{args.host}:{listener.getsockname()[1]}"
    app = make_app(endpoints, Ledger(args.ledger, service), args.delay_ms / 1000)
    # aiohttp calls `print` once, when the application has started.
    web.run_app(app, sock=listener, access_log=None, print=lambda _: print(f"ready {url}", flush=True))


def _parse(body: str) -> Json:
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise RefusedError(400, "BadRequestError", "the body is no JSON object")
    return value


def _required(key: str) -> str:
    if not key:
        raise RefusedError(400, "BadRequestError", "the header Idempotency-Key is missing")
    return key
