"""Metrics in Prometheus' text format: what this server sees when it is asked. Nothing is counted on the hot path.

Labels are names of projections, queues and statuses: few, and none that a caller can make more of without work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from projections.runner import Progress


def text_of(
    status: Iterable[Progress],
    *,
    incidents: int,
    queues: Iterable[Mapping[str, Any]] | None,
    counts: Mapping[str, int] | None,
) -> bytes:
    """`queues` as `/v1/queues` has them, `counts` by status; None when the database did not say."""
    status = list(status)
    database = GaugeMetricFamily("tenuto_database_up", "1 when the database has answered this very request.")
    database.add_metric([], queues is not None)
    log = GaugeMetricFamily("tenuto_log_position", "The last position of the log that this server knows of.")
    log.add_metric([], max((one.position + one.lag_events for one in status), default=0))
    faults = GaugeMetricFamily(
        "tenuto_incidents", "Commands that a fault inside Tenuto kept from being decided, at most 100."
    )
    faults.add_metric([], incidents)
    families = [database, log, faults, *_of_projections(status)]
    families += [*_of_queues(list(queues or [])), _of_statuses(counts or {})]
    registry = CollectorRegistry()
    registry.register(_Collected(families))
    return generate_latest(registry)


class _Collected:
    """A collector of what has been collected."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def _of_projections(status: list[Progress]) -> list[Metric]:
    position = _family("tenuto_projection_position", "Position of the log that it has applied.", "projection")
    behind = _family(
        "tenuto_projection_lag_events", "Positions of the log that it has yet to apply.", "projection"
    )
    seconds = _family("tenuto_projection_lag_seconds", "Since when it has been behind.", "projection")
    stopped = _family("tenuto_projection_stopped", "1 when a fault has stopped it.", "projection")
    for one in status:
        position.add_metric([one.name], one.position)
        behind.add_metric([one.name], one.lag_events)
        seconds.add_metric([one.name], one.lag_ms / 1000)
        stopped.add_metric([one.name], one.condition == "stopped")
    return [position, behind, seconds, stopped]


def _of_queues(queues: list[Mapping[str, Any]]) -> list[Metric]:
    depth = _family("tenuto_queue_depth", "Tasks that may be taken now.", "queue")
    running = _family("tenuto_queue_running", "Tasks that workers hold.", "queue")
    pollers = _family("tenuto_queue_pollers", "Polls that this server holds.", "queue")
    p99 = _family(
        "tenuto_queue_latency_p99_seconds",
        "Of tasks taken in the last five minutes: how long they waited.",
        "queue",
    )
    for queue in queues:
        depth.add_metric([queue["queue"]], queue["depth"])
        running.add_metric([queue["queue"]], queue["running"])
        pollers.add_metric([queue["queue"]], queue["pollers"])
        if queue["latencyP99Ms"] is not None:
            p99.add_metric([queue["queue"]], queue["latencyP99Ms"] / 1000)
    return [depth, running, pollers, p99]


def _of_statuses(counts: Mapping[str, int]) -> Metric:
    instances = _family("tenuto_instances", "Instances by status, of all namespaces.", "status")
    for status, count in counts.items():
        instances.add_metric([status], count)
    return instances


def _family(name: str, text: str, label: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=[label])
