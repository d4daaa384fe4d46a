-- name: head
-- Positions appear in commit order, so nothing will ever be committed before this one.
SELECT coalesce(max(notification_id), 0) FROM {log}

-- name: read
-- The next events in order. Payloads are measured before they are fetched, so that memory stays bounded.
SELECT notification_id, originator_id, originator_version, topic, state
FROM (
    SELECT *, sum(octet_length(state)) OVER (ORDER BY notification_id) - octet_length(state) AS bytes_before
    FROM (
        SELECT notification_id, originator_id, originator_version, topic, state
        FROM {log}
        WHERE notification_id > %(after)s
        ORDER BY notification_id
        LIMIT %(limit)s
    ) AS next
) AS measured
WHERE bytes_before < %(bytes)s
ORDER BY notification_id

-- name: one
-- A single event, for a delivery that is tried again.
SELECT notification_id, originator_id, originator_version, topic, state
FROM {log} WHERE notification_id = %(position)s

-- name: time_before
-- The stimulus that the event after this position may follow from: seldom more than a few events back.
SELECT (convert_from(state, 'UTF8')::json ->> 'at')::timestamptz
FROM {log}
WHERE notification_id <= %(position)s AND convert_from(state, 'UTF8')::json ->> 'at' IS NOT NULL
ORDER BY notification_id DESC
LIMIT 1

-- name: origins
-- A stream's first event says whose it is. Its input may be large, so only what is needed leaves the database.
SELECT originator_id,
       convert_from(state, 'UTF8')::json ->> 'namespace',
       CASE topic WHEN 'DefinitionDeployed' THEN convert_from(state, 'UTF8')::json ->> 'name'
                  ELSE convert_from(state, 'UTF8')::json ->> 'definition' END,
       convert_from(state, 'UTF8')::json -> 'labels'
FROM {log}
WHERE originator_id = ANY (%(streams)s) AND originator_version = 1
