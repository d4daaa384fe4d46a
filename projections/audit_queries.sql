-- name: audit
-- Newest first, paged by position.
SELECT position, namespace, kind, event, instance, definition, version, actor, reason, request_id, at, detail
FROM {views}.audit
WHERE namespace = %(namespace)s
    AND (%(instance)s::text IS NULL OR instance = %(instance)s)
    AND (%(definition)s::text IS NULL OR definition = %(definition)s)
    AND (%(actor)s::text IS NULL OR (left(actor, 200) = left(%(actor)s, 200) AND actor = %(actor)s))
    AND (%(kinds)s::text[] IS NULL OR kind = ANY (%(kinds)s))
    AND (%(request_id)s::text IS NULL OR request_id = %(request_id)s)
    AND (%(at_after)s::timestamptz IS NULL OR at >= %(at_after)s)
    AND (%(at_before)s::timestamptz IS NULL OR at < %(at_before)s)
    AND (%(after_position)s::bigint IS NULL OR position < %(after_position)s)
ORDER BY position DESC
LIMIT %(limit)s
