-- name: look
-- Whether every table is there to stand on, and which views there are. By the catalogue: no name has to be found.
SELECT
    (
        SELECT count(*) = cardinality(%(tables)s::text[]) - cardinality(%(moved)s::text[])
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = %(views)s AND c.relkind = 'r'
            AND c.relname = ANY (%(tables)s) AND NOT c.relname = ANY (%(moved)s::text[])
    ),
    (SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = %(v1)s)

-- name: schema
CREATE SCHEMA IF NOT EXISTS {v1}

-- name: older
-- Before there were views, tables of projections stood under these names. The log has what was in them.
DO $$
DECLARE old regclass;
BEGIN
    FOR old IN SELECT oid FROM pg_class WHERE relnamespace = '{v1}'::regnamespace AND relkind = 'r' LOOP
        EXECUTE format('DROP TABLE %s', old);
    END LOOP;
END $$

-- name: events
-- The log. `at`, `actor` and `reason` stand on a command's first event only: here every event has them.
CREATE OR REPLACE VIEW {v1}.events AS
SELECT
    event.notification_id AS position,
    event.originator_id AS instance,
    event.originator_version AS version,
    event.topic AS type,
    (stimulus.payload ->> 'at')::timestamptz AS at,
    stimulus.payload ->> 'actor' AS actor,
    coalesce(convert_from(event.state, 'UTF8')::jsonb ->> 'reason', stimulus.payload ->> 'reason') AS reason,
    convert_from(event.state, 'UTF8')::jsonb AS payload
FROM {log} AS event
CROSS JOIN LATERAL (
    SELECT earlier.payload
    FROM (
        SELECT convert_from(state, 'UTF8')::jsonb AS payload, originator_version
        FROM {log}
        WHERE originator_id = event.originator_id AND originator_version <= event.originator_version
        ORDER BY originator_version DESC
    ) AS earlier
    WHERE earlier.payload ? 'at'
    ORDER BY earlier.originator_version DESC
    LIMIT 1
) AS stimulus

-- name: instances
-- One row per instance, as it is now.
CREATE OR REPLACE VIEW {v1}.instances AS
SELECT
    id, namespace, definition, version AS definition_version, correlation_id, status, outcome, waiting_for,
    business_status, current_step, paused, priority, labels, error, result, parent_instance, parent_execution,
    created_at, start_at, started_at, ended_at, timeout_at, updated_at, event_version AS version
FROM {instances}

-- name: step_executions
-- One row per visit of a step. `attempts` is read from the log, and only when it is asked for.
CREATE OR REPLACE VIEW {v1}.step_executions AS
SELECT
    instance, execution, step_id AS step, step_name, kind, status, attempt, retry_count, worker, scheduled_at,
    started_at, completed_at, duration_ms, error, next_retry, waiting_for, waiting_since, signal, until, ended_by, next,
    undoes, compensated_by, opened_by AS opened_by_version,
    (
        SELECT jsonb_agg(to_jsonb(one) ORDER BY one.attempt)
        FROM (
            SELECT
                (payload ->> 'attempt')::integer AS attempt,
                min(at) FILTER (WHERE type = 'StepScheduled') AS scheduled_at,
                min(at) FILTER (WHERE type = 'StepStarted') AS started_at,
                min(at) FILTER (WHERE type IN ('StepCompleted', 'StepFailed', 'Compensated')) AS ended_at,
                min(payload ->> 'worker') AS worker,
                (array_agg(payload -> 'error') FILTER (WHERE type = 'StepFailed'))[1] AS error
            FROM {v1}.events AS event
            WHERE event.instance = visit.instance AND payload ->> 'execution' = visit.execution
                AND payload ? 'attempt'
            GROUP BY 1
        ) AS one
    ) AS attempts
FROM {step_executions} AS visit

-- name: transitions
-- Every change of status of every instance, with who and why.
CREATE OR REPLACE VIEW {v1}.transitions AS
SELECT position, namespace, definition, instance, version, from_status, to_status, reason, actor, at
FROM {transitions}

-- name: waits
-- What is waited for now: a signal under a key, a time, or a person (`manual_resolution`).
CREATE OR REPLACE VIEW {v1}.waits AS
SELECT
    visit.instance, visit.execution, instance.namespace, instance.definition, visit.step_id AS step, visit.waiting_for,
    visit.signal,
    CASE WHEN visit.signal IS NOT NULL THEN coalesce(listens.correlation_key, instance.correlation_id) END
        AS correlation_key,
    visit.until, visit.waiting_since AS since
FROM {step_executions} AS visit
JOIN {instances} AS instance ON instance.id = visit.instance
LEFT JOIN {owed} AS listens
    ON listens.instance = visit.instance AND listens.key = visit.execution AND listens.kind = 'listen'
WHERE visit.waiting_for IS NOT NULL

-- name: timers
-- What happens by the clock, if nothing happens before: timeouts, retries, deadlines, the ends of waits.
CREATE OR REPLACE VIEW {v1}.timers AS
SELECT instance, key, namespace, kind, coalesce(timer_at, due_at) AS at, attempt, queue
FROM {owed}
WHERE timer_at IS NOT NULL OR (kind = 'invoke' AND attempt > 1)

-- name: queues
-- By queue: what waits and runs now, and how long it took to be taken, in the last five minutes of the clock.
CREATE OR REPLACE VIEW {v1}.queues AS
WITH
    owing AS (
        SELECT
            queue,
            count(*) FILTER (WHERE kind = 'invoke' AND due_at <= now()) AS depth,
            min(due_at) FILTER (WHERE kind = 'invoke' AND due_at <= now()) AS oldest,
            count(*) FILTER (WHERE kind = 'await') AS running
        FROM {owed} WHERE queue IS NOT NULL GROUP BY queue
    ),
    counted AS (
        SELECT queue, bucket, sum(count) AS count FROM {queues}
        WHERE minute >= date_trunc('minute', now() - interval '5 minutes')
        GROUP BY queue, bucket
    ),
    ranked AS (
        SELECT
            queue, bucket, sum(count) OVER (PARTITION BY queue ORDER BY bucket) AS upto,
            sum(count) OVER (PARTITION BY queue) AS total
        FROM counted
    ),
    recent AS (
        SELECT
            queue, max(total)::bigint AS taken,
            ceil(power(2.0, min(bucket) FILTER (WHERE upto >= ceil(total * 0.5)) / 8.0) - 1e-9)::bigint AS p50_ms,
            ceil(power(2.0, min(bucket) FILTER (WHERE upto >= ceil(total * 0.99)) / 8.0) - 1e-9)::bigint AS p99_ms
        FROM ranked GROUP BY queue
    )
SELECT
    queue, coalesce(depth, 0) AS depth, oldest, coalesce(running, 0) AS running, coalesce(taken, 0) AS taken,
    p50_ms AS latency_p50_ms, p99_ms AS latency_p99_ms
FROM owing FULL JOIN recent USING (queue)

-- name: deadlines
-- What is to be reached by when. `void`: the instance has ended before either came true.
CREATE OR REPLACE VIEW {v1}.deadlines AS
SELECT
    deadline.instance, deadline.name, deadline.namespace, deadline.definition,
    CASE
        WHEN deadline.standing = 'open' AND instance.status IN ('completed', 'failed') THEN 'void'
        ELSE deadline.standing
    END AS standing,
    deadline.set_at, deadline.due_at, deadline.escalated, deadline.ended_at
FROM {deadlines} AS deadline JOIN {instances} AS instance ON instance.id = deadline.instance

-- name: definitions
-- Every version that was deployed, by whom, and the document that instances run.
CREATE OR REPLACE VIEW {v1}.definitions AS
SELECT
    payload ->> 'namespace' AS namespace, payload ->> 'name' AS name, payload ->> 'version' AS version,
    payload ->> 'hash' AS hash, at AS deployed_at, actor AS deployed_by, payload -> 'document' AS document,
    payload -> 'findings' AS findings
FROM {v1}.events
WHERE type = 'DefinitionDeployed' AND instance >= 'definition/' AND instance < 'definition0'

-- name: definition_statistics
-- By version and step (empty: the instances themselves): how many, how they went, how long they took.
CREATE OR REPLACE VIEW {v1}.definition_statistics AS
WITH
    ranked AS (
        SELECT
            *, sum(count) OVER (PARTITION BY namespace, definition, version, step ORDER BY bucket) AS upto,
            sum(count) OVER (PARTITION BY namespace, definition, version, step) AS total
        FROM {definition_statistics} WHERE measure = 'duration'
    ),
    took AS (
        SELECT
            namespace, definition, version, step,
            ceil(power(2.0, min(bucket) FILTER (WHERE upto >= ceil(total * 0.5)) / 8.0) - 1e-9)::bigint AS p50_ms,
            ceil(power(2.0, min(bucket) FILTER (WHERE upto >= ceil(total * 0.99)) / 8.0) - 1e-9)::bigint AS p99_ms
        FROM ranked GROUP BY namespace, definition, version, step
    ),
    counted AS (
        SELECT
            namespace, definition, version, step,
            jsonb_object_agg(measure, count ORDER BY measure) AS counts
        FROM {definition_statistics} WHERE measure <> 'duration'
        GROUP BY namespace, definition, version, step
    )
SELECT namespace, definition, version, step, counts, p50_ms AS duration_p50_ms, p99_ms AS duration_p99_ms
FROM counted LEFT JOIN took USING (namespace, definition, version, step)

-- name: audit
-- Who did what, when, why, and by which request.
CREATE OR REPLACE VIEW {v1}.audit AS
SELECT position, namespace, kind, event, instance, definition, version, actor, reason, request_id, at, detail
FROM {audit}

-- name: alerts
-- What somebody should look at, with the brief's seven fields, and who has.
CREATE OR REPLACE VIEW {v1}.alerts AS
SELECT
    position, instance, alert, namespace, definition, severity, step, action, message, error, retry_count, raised_at,
    acknowledged_at, acknowledged_by, acknowledged_because
FROM {alerts}
