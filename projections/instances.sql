-- name: create
-- One row per instance. `open` is the fold's own memory: json, not jsonb, because the order of its keys matters.
CREATE TABLE IF NOT EXISTS {views}.instances (
    id               text COLLATE "C" PRIMARY KEY,
    namespace        text NOT NULL,
    definition       text NOT NULL,
    version          text NOT NULL,
    correlation_id   text,
    status           text NOT NULL,
    outcome          text,
    waiting_for      text[] NOT NULL,
    business_status  text,
    current_step     text,
    paused           boolean NOT NULL,
    priority         text NOT NULL,
    labels           jsonb NOT NULL,
    error            jsonb,
    result           jsonb,
    parent_instance  text,
    parent_execution text,
    created_at       timestamptz NOT NULL,
    start_at         timestamptz,
    started_at       timestamptz,
    ended_at         timestamptz,
    timeout_at       timestamptz,
    updated_at       timestamptz NOT NULL,
    event_version    bigint NOT NULL,
    open             json NOT NULL
) WITH (fillfactor = 80);
-- Every list is paged by (created_at, id), newest first.
CREATE INDEX IF NOT EXISTS instances_age ON {views}.instances (namespace, created_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS instances_status ON {views}.instances (namespace, status, created_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS instances_definition
    ON {views}.instances (namespace, md5(definition), created_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS instances_outcome ON {views}.instances (namespace, outcome, created_at DESC, id DESC)
    WHERE outcome IS NOT NULL;
CREATE INDEX IF NOT EXISTS instances_business_status
    ON {views}.instances (namespace, md5(business_status), created_at DESC, id DESC) WHERE business_status IS NOT NULL;
-- By hash or in GIN, because a B-tree refuses long values, and would stop the projection.
CREATE INDEX IF NOT EXISTS instances_correlation ON {views}.instances USING hash (correlation_id);
CREATE INDEX IF NOT EXISTS instances_parent ON {views}.instances USING hash (parent_instance);
CREATE INDEX IF NOT EXISTS instances_labels ON {views}.instances USING gin (labels jsonb_path_ops);
CREATE INDEX IF NOT EXISTS instances_waiting ON {views}.instances USING gin (waiting_for) WHERE status = 'waiting'

-- name: rows
-- The rows that a batch goes on from.
SELECT row_to_json(instance)::text FROM {views}.instances AS instance WHERE id = ANY (%(ids)s)

-- name: upsert
-- All rows of a batch at once; of what an instance is born with, a migration or a fork may change a part.
INSERT INTO {views}.instances
SELECT * FROM json_populate_recordset(NULL::{views}.instances, %(rows)s::json)
ON CONFLICT (id) DO UPDATE SET
    version = excluded.version,
    created_at = excluded.created_at,
    parent_instance = excluded.parent_instance,
    parent_execution = excluded.parent_execution,
    start_at = excluded.start_at,
    timeout_at = excluded.timeout_at,
    status = excluded.status,
    outcome = excluded.outcome,
    waiting_for = excluded.waiting_for,
    business_status = excluded.business_status,
    current_step = excluded.current_step,
    paused = excluded.paused,
    error = excluded.error,
    result = excluded.result,
    started_at = excluded.started_at,
    ended_at = excluded.ended_at,
    updated_at = excluded.updated_at,
    event_version = excluded.event_version,
    open = excluded.open
