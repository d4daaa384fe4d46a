-- name: create
-- One row per visit of a step: which steps are slow, retried, failing. `opened_by` is the version that opened it.
CREATE TABLE IF NOT EXISTS {views}.step_executions (
    instance       text COLLATE "C" NOT NULL,
    execution      text COLLATE "C" NOT NULL,
    step_id        text NOT NULL,
    step_name      text NOT NULL,
    kind           text NOT NULL,
    status         text NOT NULL,
    opened_by      bigint NOT NULL,
    attempt        integer NOT NULL,
    retry_count    integer NOT NULL,
    worker         text,
    scheduled_at   timestamptz NOT NULL,
    started_at     timestamptz,
    completed_at   timestamptz,
    duration_ms    bigint,
    error          jsonb,
    next_retry     timestamptz,
    waiting_for    text,
    waiting_since  timestamptz,
    signal         text,
    until          timestamptz,
    ended_by       text,
    next           text,
    undoes         text,
    compensated_by text,
    PRIMARY KEY (instance, execution)
) WITH (fillfactor = 80);
-- What waits now, the longest first; few rows. An ordinary step never comes in here: its updates stay on their page.
CREATE INDEX IF NOT EXISTS step_executions_waiting ON {views}.step_executions (waiting_since, instance, execution)
    WHERE waiting_for IS NOT NULL

-- name: rows
-- The rows that a batch goes on from, and the compensate steps that the end of a compensation ends.
SELECT row_to_json(found)::text
FROM unnest(%(instances)s::text[], %(executions)s::text[]) AS asked (instance, execution)
JOIN {views}.step_executions AS found USING (instance, execution)
UNION
SELECT row_to_json(found)::text FROM {views}.step_executions AS found
WHERE instance = ANY (%(ended)s::text[]) AND kind = 'compensate' AND completed_at IS NULL

-- name: upsert
-- All rows of a batch at once; what an execution is opened with never changes.
INSERT INTO {views}.step_executions
SELECT * FROM json_populate_recordset(NULL::{views}.step_executions, %(rows)s::json)
ON CONFLICT (instance, execution) DO UPDATE SET
    status = excluded.status,
    attempt = excluded.attempt,
    retry_count = excluded.retry_count,
    worker = excluded.worker,
    started_at = excluded.started_at,
    completed_at = excluded.completed_at,
    duration_ms = excluded.duration_ms,
    error = excluded.error,
    next_retry = excluded.next_retry,
    waiting_for = excluded.waiting_for,
    waiting_since = excluded.waiting_since,
    ended_by = excluded.ended_by,
    next = excluded.next,
    compensated_by = excluded.compensated_by
