"""Tenuto for its users: call a server (`Client`), do its work (`Worker`, `activity`), write definitions
(`workflow`).

Knows nothing of the server's code: it speaks HTTP. Clients and workers are imported when first asked for, so
that `import tenuto` and `tenuto --help` cost next to nothing. Next: `client.py`, `worker.py`, `workflow.py`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

# Not lazy: the submodule `tenuto.activity` would otherwise stand in the place of the decorator as soon as
# anything imports it. It costs next to nothing.
from tenuto.activity import Activity, ActivityContext, activity, current, heartbeat

if TYPE_CHECKING:
    from tenuto import workflow
    from tenuto.client import AsyncClient, Client
    from tenuto.errors import (
        ActivityError,
        ConflictError,
        InvalidInputError,
        NotFoundError,
        ServerUnreachableError,
        TenutoApiError,
        TenutoClientError,
        UnavailableError,
        WaitTimeoutError,
    )
    from tenuto.worker import Worker

__all__ = [
    "Activity",
    "ActivityContext",
    "ActivityError",
    "AsyncClient",
    "Client",
    "ConflictError",
    "InvalidInputError",
    "NotFoundError",
    "ServerUnreachableError",
    "TenutoApiError",
    "TenutoClientError",
    "UnavailableError",
    "WaitTimeoutError",
    "Worker",
    "activity",
    "current",
    "heartbeat",
    "workflow",
]

_HOMES = {"AsyncClient": "tenuto.client", "Client": "tenuto.client", "Worker": "tenuto.worker"}


def __getattr__(name: str) -> object:
    if name == "workflow":
        return importlib.import_module("tenuto.workflow")
    if name not in __all__:
        raise AttributeError(f"module 'tenuto' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES.get(name, "tenuto.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
