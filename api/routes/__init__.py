"""The tables of the API, in the order in which the document shows them and the router tries them."""

from __future__ import annotations

from api.routes import (
    acts,
    audit,
    batches,
    checks,
    definitions,
    feed,
    forks,
    insight,
    instances,
    lists,
    operations,
    oversight,
    signals,
    tasks,
    webhooks,
    whatif,
)

# Tasks first: they are asked for most. Lists before instances: `/instances/counts` is no instance.
TABLES = (
    tasks.routes,
    definitions.routes,
    lists.routes,
    oversight.routes,
    instances.routes,
    insight.routes,
    checks.routes,
    whatif.routes,
    batches.routes,
    forks.routes,
    acts.routes,
    signals.routes,
    audit.routes,
    feed.routes,
    webhooks.routes,
    operations.routes,
)

__all__ = ["TABLES"]
