"""Metrics in Prometheus' text format: what this server sees when it is asked. Nothing is counted on the hot path.

Labels are names of projections, queues and statuses: few, and none that a caller can make more of without work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from api.wiring import Wiring
from feeds.webhooks import Webhooks
from notary.notary import Standing
from projections.runner import Progress


def text_of(
    wiring: Wiring, *, queues: Iterable[Mapping[str, Any]] | None, counts: Mapping[str, int] | None
) -> bytes:
    """`queues` as `/v1/queues` has them, `counts` by status; None when the database did not say."""
    status = wiring.runner.status()
    head = max((one.position + one.lag_events for one in status), default=0)
    families = [
        _single(
            "tenuto_database_up", "1 when the database has answered this very request.", queues is not None
        ),
        _single("tenuto_log_position", "The last position of the log that this server knows of.", head),
        _single(
            "tenuto_incidents",
            "Commands that a fault inside Tenuto kept from being decided, at most 100.",
            len(wiring.engine.incidents),
        ),
        *_of_projections(status),
        *_of_queues(list(queues or [])),
        _of_statuses(counts or {}),
        _single("tenuto_feed_consumers", "Consumers of the live feed at this server.", wiring.feed.consumers),
        *_of_webhooks(wiring.webhooks),
        *([] if wiring.notary is None else _of_the_notary(wiring.notary.standing())),
    ]
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


def _of_webhooks(webhooks: Webhooks) -> list[Metric]:
    """Of those that this server delivers."""
    behind = _family(
        "tenuto_webhook_lag_events",
        "Positions of the log that the webhook is yet to pass.",
        "namespace",
        "webhook",
    )
    tried = _family(
        "tenuto_webhook_attempts",
        "Attempts in vain to tell the webhook of its next event.",
        "namespace",
        "webhook",
    )
    for one in webhooks.deliveries:
        webhook = one.registration.webhook
        behind.add_metric([webhook.namespace, webhook.name], webhooks.lag(one.position))
        tried.add_metric([webhook.namespace, webhook.name], one.attempts)
    return [behind, tried]


def _of_the_notary(standing: Standing) -> list[Metric]:
    stopped = standing.problem is not None
    return [
        _single("tenuto_notary_events", "Events in the tree over the log.", standing.size),
        _single(
            "tenuto_notary_exported_events",
            "Events that the last exported checkpoint covers.",
            standing.exported or 0,
        ),
        _single(
            "tenuto_notary_stopped",
            "1 while something keeps the notary from signing: /v1/audit says what.",
            stopped,
        ),
    ]


def _single(name: str, text: str, value: float) -> Metric:
    family = GaugeMetricFamily(name, text)
    family.add_metric([], value)
    return family


def _family(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=labels)
