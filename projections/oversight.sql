-- name: alerts
-- Newest first, paged by position.
SELECT
    alert, severity, definition AS workflow, instance AS instance_id, step, error, retry_count, action, message,
    raised_at, acknowledged_at, acknowledged_by, acknowledged_because, position
FROM {views}.alerts
WHERE namespace = %(namespace)s
    AND (%(acknowledged)s::boolean IS NULL OR (acknowledged_at IS NOT NULL) = %(acknowledged)s)
    AND (%(severity)s::text IS NULL OR severity = %(severity)s)
    AND (%(instance)s::text IS NULL OR instance = %(instance)s)
    AND (%(definition)s::text IS NULL OR definition = %(definition)s)
    AND (%(after)s::bigint IS NULL OR position < %(after)s)
ORDER BY position DESC
LIMIT %(limit)s

-- name: waits
-- The longest first, paged by key. The key that a signal finds it by stands in what is owed.
SELECT
    visit.instance AS instance_id, visit.execution, instance.definition, visit.step_id AS step, visit.waiting_for,
    visit.signal,
    CASE WHEN visit.signal IS NOT NULL THEN coalesce(listens.correlation_key, instance.correlation_id) END
        AS correlation_key,
    visit.until, visit.waiting_since AS since
FROM {views}.step_executions AS visit
JOIN {views}.instances AS instance ON instance.id = visit.instance
LEFT JOIN {owed} AS listens
    ON listens.instance = visit.instance AND listens.key = visit.execution AND listens.kind = 'listen'
WHERE visit.waiting_for IS NOT NULL
    AND instance.namespace = %(namespace)s
    AND (%(waiting_for)s::text IS NULL OR visit.waiting_for = %(waiting_for)s)
    AND (%(signal)s::text IS NULL OR visit.signal = %(signal)s)
    AND (%(instance)s::text IS NULL OR visit.instance = %(instance)s)
    AND (%(definition)s::text IS NULL OR instance.definition = %(definition)s)
    AND (
        %(after_at)s::timestamptz IS NULL
        OR (visit.waiting_since, visit.instance, visit.execution)
            > (%(after_at)s, %(after_instance)s COLLATE "C", %(after_execution)s COLLATE "C")
    )
ORDER BY visit.waiting_since, visit.instance, visit.execution
LIMIT %(limit)s

-- name: deadlines
-- Those due first first, paged by key. One whose instance has ended before it came true is void.
SELECT
    deadline.instance AS instance_id, deadline.name, deadline.definition,
    CASE
        WHEN deadline.standing = 'open' AND instance.status IN ('completed', 'failed') THEN 'void'
        ELSE deadline.standing
    END AS standing,
    deadline.set_at, deadline.due_at, deadline.escalated, deadline.ended_at
FROM {views}.deadlines AS deadline
JOIN {views}.instances AS instance ON instance.id = deadline.instance
WHERE deadline.namespace = %(namespace)s
    AND (
        %(standing)s::text IS NULL
        OR (
            deadline.standing = %(standing)s
            AND NOT (deadline.standing = 'open' AND instance.status IN ('completed', 'failed'))
        )
    )
    AND (%(due_before)s::timestamptz IS NULL OR deadline.due_at < %(due_before)s)
    AND (%(instance)s::text IS NULL OR deadline.instance = %(instance)s)
    AND (%(definition)s::text IS NULL OR deadline.definition = %(definition)s)
    AND (
        %(after_at)s::timestamptz IS NULL
        OR (deadline.due_at, deadline.instance, deadline.name)
            > (%(after_at)s, %(after_instance)s COLLATE "C", %(after_name)s COLLATE "C")
    )
ORDER BY deadline.due_at, deadline.instance, deadline.name
LIMIT %(limit)s

-- name: queues
-- What is owed now, and how long what was taken lately had waited.
WITH
    owing AS (
        SELECT
            queue,
            count(*) FILTER (WHERE kind = 'invoke' AND due_at <= %(now)s) AS depth,
            min(due_at) FILTER (WHERE kind = 'invoke' AND due_at <= %(now)s) AS oldest_at,
            count(*) FILTER (WHERE kind = 'await') AS running,
            count(DISTINCT session) FILTER (WHERE kind = 'await') AS sessions
        FROM {owed} WHERE queue IS NOT NULL GROUP BY queue
    ),
    counted AS (
        SELECT queue, bucket, sum(count)::bigint AS count FROM {views}.queues
        WHERE minute >= %(since)s GROUP BY queue, bucket
    ),
    recent AS (
        SELECT queue, array_agg(bucket ORDER BY bucket) AS buckets, array_agg(count ORDER BY bucket) AS counts
        FROM counted GROUP BY queue
    )
SELECT
    queue, coalesce(depth, 0) AS depth, oldest_at, coalesce(running, 0) AS running,
    coalesce(sessions, 0) AS sessions, buckets, counts
FROM owing FULL JOIN recent USING (queue)
ORDER BY queue

-- name: statistics
-- Every counter of one definition.
SELECT version, step, measure, bucket, count
FROM {views}.definition_statistics
WHERE namespace = %(namespace)s AND definition = %(definition)s
ORDER BY version, step, measure, bucket
