"""The tables of the API, in the order in which the document shows them and the router tries them."""

from __future__ import annotations

from api.routes import acts, batches, definitions, forks, instances, lists, operations, signals, tasks

# Tasks first: they are asked for most. Lists before instances: `/instances/counts` is no instance.
TABLES = (
    tasks.routes,
    definitions.routes,
    lists.routes,
    instances.routes,
    batches.routes,
    forks.routes,
    acts.routes,
    signals.routes,
    operations.routes,
)

__all__ = ["TABLES"]
