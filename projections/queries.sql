-- name: instances
-- Newest first, and paged by key: a page is as quick as the first one, and writes do not move rows between pages.
SELECT
    id, namespace, definition, version, correlation_id, status, outcome, waiting_for, business_status, current_step,
    paused, priority, labels, error, result, parent_instance, parent_execution,
    created_at, start_at, started_at, ended_at, timeout_at, updated_at, event_version
FROM {views}.instances
WHERE namespace = %(namespace)s
    AND (%(statuses)s::text[] IS NULL OR status = ANY (%(statuses)s))
    AND (%(outcomes)s::text[] IS NULL OR outcome = ANY (%(outcomes)s))
    AND (%(definition)s::text IS NULL OR (md5(definition) = md5(%(definition)s) AND definition = %(definition)s))
    AND (%(version)s::text IS NULL OR version = %(version)s)
    AND (%(correlation_id)s::text IS NULL OR correlation_id = %(correlation_id)s)
    AND (%(parent)s::text IS NULL OR parent_instance = %(parent)s)
    AND (%(waiting_for)s::text[] IS NULL OR (status = 'waiting' AND waiting_for && %(waiting_for)s))
    AND (%(labels)s::jsonb IS NULL OR labels @> %(labels)s)
    AND {found}
    AND (
        %(business_status)s::text IS NULL
        OR (md5(business_status) = md5(%(business_status)s) AND business_status = %(business_status)s)
    )
    AND (%(paused)s::boolean IS NULL OR paused = %(paused)s)
    AND (%(created_after)s::timestamptz IS NULL OR created_at >= %(created_after)s)
    AND (%(created_before)s::timestamptz IS NULL OR created_at < %(created_before)s)
    AND (%(after_time)s::timestamptz IS NULL OR (created_at, id) < (%(after_time)s, %(after_id)s))
ORDER BY created_at DESC, id DESC
LIMIT %(limit)s

-- name: counts
-- How many instances are in each status: counters are added up, no instance is looked at.
SELECT substr(measure, 8) AS status, sum(count) AS count
FROM {views}.definition_statistics
WHERE measure = ANY (%(measures)s) AND step = ''
    AND (%(namespace)s::text IS NULL OR namespace = %(namespace)s)
    AND (%(definition)s::text IS NULL OR (md5(definition) = md5(%(definition)s) AND definition = %(definition)s))
GROUP BY measure
HAVING sum(count) > 0

-- name: transitions
-- Newest first, paged by position.
SELECT position, namespace, definition, instance, version, from_status, to_status, reason, actor, at
FROM {views}.transitions
WHERE namespace = %(namespace)s
    AND (%(instance)s::text IS NULL OR instance = %(instance)s)
    AND (%(definition)s::text IS NULL OR definition = %(definition)s)
    AND (%(from_status)s::text IS NULL OR from_status = %(from_status)s)
    AND (%(to_status)s::text IS NULL OR to_status = %(to_status)s)
    AND (%(actor)s::text IS NULL OR actor = %(actor)s)
    AND (%(at_after)s::timestamptz IS NULL OR at >= %(at_after)s)
    AND (%(at_before)s::timestamptz IS NULL OR at < %(at_before)s)
    AND (%(after_position)s::bigint IS NULL OR position < %(after_position)s)
ORDER BY position DESC
LIMIT %(limit)s

-- name: step_executions
-- Of one instance, in the order in which they began.
SELECT
    instance, execution, step_id, step_name, kind, status, opened_by, attempt, retry_count, worker,
    scheduled_at, started_at, completed_at, duration_ms, error, next_retry, waiting_for, waiting_since, signal, until, ended_by,
    next, undoes, compensated_by
FROM {views}.step_executions
WHERE instance = %(instance)s
ORDER BY opened_by, execution
LIMIT %(limit)s
