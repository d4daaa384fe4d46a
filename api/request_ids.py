"""Every act has a request that it came from: one that brings no `Tenuto-Request-Id` is given one, and told it.

So the audit log can always say by which request. Reads leave no trace, and the workers' calls, which are many and have
tokens of their own, are left alone.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = b"tenuto-request-id"
WORKERS = "/v1/tasks/"


class RequestIds:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] == "GET" or scope["path"].startswith(WORKERS):
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == HEADER), None)
        if given is None:
            given = scope["app"].state.wiring.clock.new_id().encode()
            scope["headers"] = [*scope["headers"], (HEADER, given)]

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (HEADER, given)]
            await send(message)

        await self._app(scope, receive, told)
