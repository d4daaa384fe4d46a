"""The tables of the API, in the order in which the document shows them and the router tries them."""

from __future__ import annotations

from api.routes import acts, definitions, instances, lists, operations, oversight, signals, tasks

# Tasks first: they are asked for most. Lists before instances: `/instances/counts` is no instance.
TABLES = (
    tasks.routes,
    definitions.routes,
    lists.routes,
    oversight.routes,
    instances.routes,
    acts.routes,
    signals.routes,
    operations.routes,
)

__all__ = ["TABLES"]
