"""Very many instances, made in SQL straight into a log: what the lists are measured on, and their plans tested with.

Their kinds are mixed as they would be: most have completed, a few wait, fail or run. Also the ten combinations of
filters that the lists promise to be quick for (docs/reference/http.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import psycopg
from psycopg import sql

from projections.catalogue import PROJECTIONS
from projections.follower import Follower, Site
from projections.queries import InstanceFilters

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
SPAN = timedelta(days=30)
"""Instances are created evenly over this time."""
PROJECTED = ("instances", "words", "definition_statistics")

_INSERT = sql.SQL("""
WITH instance AS (
    SELECT
        n, '0-' || lpad(to_hex(n), 32, '0') AS id,
        to_json({begin}::timestamptz + n * ({span}::interval / {count})) AS at,
        CASE WHEN n % 20 = 0 THEN 'audit' WHEN n % 4 = 0 THEN 'invoice' ELSE 'order' END AS definition,
        (1 + n / 7 % 2)::text AS version,
        n::bigint * 7919 % 100 AS fate
    FROM generate_series(1, {count}) AS n
),
event AS (
    SELECT n, id, 1 AS version, 'InstanceStarted' AS topic, json_build_object(
        'at', at, 'namespace', 'default', 'definition', definition, 'version', version, 'definitionHash', 'x',
        'correlationId', 'c-' || n / 2,
        'input', json_build_object('orderId', 'o-' || n, 'customer', 'customer' || n % 5000),
        'labels', json_build_object('tier', CASE WHEN n % 8 = 0 THEN 'premium' ELSE 'basic' END,
            'batch', 'b-' || n / 50)
    ) AS payload FROM instance
    UNION ALL
    SELECT n, id, 2, 'StatusChanged', json_build_object('from', 'pending', 'to', 'running', 'reason', 'started')
    FROM instance WHERE fate > 0
    UNION ALL
    SELECT n, id, 3, 'BusinessStatusChanged', json_build_object('to', 'shipping_' || n % 3)
    FROM instance WHERE fate > 0
    UNION ALL
    SELECT n, id, 4, 'WaitStarted',
        json_build_object('execution', 'approval#1', 'step', 'approval', 'signal', 'approval')
    FROM instance WHERE fate BETWEEN 3 AND 5
    UNION ALL
    SELECT n, id, CASE WHEN fate BETWEEN 3 AND 5 THEN 5 ELSE 4 END, 'StatusChanged', json_strip_nulls(json_build_object(
        'from', 'running', 'reason', 'so it went',
        'to', CASE WHEN fate <= 5 THEN 'waiting' WHEN fate <= 8 THEN 'failed' ELSE 'completed' END,
        'outcome', CASE WHEN fate > 9 THEN 'succeeded' WHEN fate = 9 THEN 'compensated' WHEN fate > 5 THEN 'failed' END
    )) FROM instance WHERE fate >= 3
)
INSERT INTO {table} (originator_id, originator_version, topic, state)
SELECT id, version, topic, convert_to(payload::text, 'UTF8') FROM event ORDER BY n, version
""")


def populate(database: str, log: tuple[str, str], instances: int) -> None:
    """Appends so many instances to an empty log."""
    statement = _INSERT.format(
        begin=sql.Literal(BEGIN),
        span=sql.Literal(SPAN),
        count=sql.Literal(instances),
        table=sql.Identifier(*log),
    )
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SET timezone TO 'UTC'")
        connection.execute(statement)


def project(site: Site) -> None:
    """Applies all of the log, in large batches, and looks at what there is as autovacuum would."""
    for name in PROJECTED:
        follower = Follower(site._replace(batch=5_000), PROJECTIONS[name])
        follower.prepare()
        end = follower.place().head
        while follower.advance() < end:
            pass
        table = sql.Identifier(site.views, name)
        follower.connection.execute(sql.SQL("VACUUM ANALYZE {}").format(table))
        follower.close()


def combinations(instances: int) -> Mapping[str, InstanceFilters]:
    """Ten that are asked for in earnest, by what they ask."""
    some = instances // 2
    hour = SPAN / 720
    return {
        "the newest": InstanceFilters(),
        "what waits": InstanceFilters(statuses=["waiting"]),
        "what failed of a definition": InstanceFilters(statuses=["failed"], definition="order"),
        "an outcome": InstanceFilters(outcomes=["compensated"]),
        "a version of a definition": InstanceFilters(definition="audit", version="2"),
        "a correlation id": InstanceFilters(correlation_id=f"c-{some}"),
        "what has waited long for a signal": InstanceFilters(
            waiting_for=["signal"], created_before=BEGIN + 10 * hour
        ),
        "a label": InstanceFilters(labels={"batch": f"b-{some // 50}"}),
        "words": InstanceFilters(text=f"customer{(some + 1) % 5000} basic"),
        "a business status within an hour": InstanceFilters(
            business_status="shipping_1",
            statuses=["completed", "failed"],
            created_after=BEGIN + 300 * hour,
            created_before=BEGIN + 301 * hour,
        ),
    }
