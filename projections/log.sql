-- name: read
-- The next events in order. Payloads are measured before they are fetched, so that memory stays bounded.
SELECT notification_id, originator_id, originator_version, topic, state
FROM (
    SELECT *, sum(octet_length(state)) OVER (ORDER BY notification_id) - octet_length(state) AS bytes_before
    FROM (
        SELECT notification_id, originator_id, originator_version, topic, state
        FROM {log}
        WHERE notification_id > %(after)s AND notification_id <= coalesce(%(upto)s, 9223372036854775807)
        ORDER BY notification_id
        LIMIT %(limit)s
    ) AS next
) AS measured
WHERE bytes_before < %(bytes)s
ORDER BY notification_id

-- name: look
-- Where the projection stands, and where the log ends: no lock, no write, so that idle polling costs nothing.
SELECT position, (SELECT coalesce(max(notification_id), 0) FROM {log})
FROM {views}.positions
WHERE projection = %(projection)s

-- name: create
-- One row per projection, changed in the transaction that applies its events. `shape` is a digest of its tables.
CREATE TABLE IF NOT EXISTS {views}.positions (
    projection text PRIMARY KEY,
    position   bigint NOT NULL,
    shape      text NOT NULL,
    at         timestamptz,
    actor      text,
    reason     text
) WITH (fillfactor = 10)

-- name: begin
-- A projection that is new starts before the first event.
INSERT INTO {views}.positions (projection, position, shape) VALUES (%(projection)s, 0, %(shape)s)
ON CONFLICT (projection) DO NOTHING

-- name: shape
SELECT shape FROM {views}.positions WHERE projection = %(projection)s

-- name: lock
-- Whoever holds this row is the only one who applies events to the projection.
SELECT position, shape, at, actor, reason FROM {views}.positions WHERE projection = %(projection)s FOR UPDATE

-- name: move
-- With the position goes the stimulus: the next event may be its consequence, and carries no time of its own.
UPDATE {views}.positions SET position = %(position)s, at = %(at)s, actor = %(actor)s, reason = %(reason)s
WHERE projection = %(projection)s
