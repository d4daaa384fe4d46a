-- name: histories
-- Whole streams, because a consequence carries no time of its own: it stands in the event before it.
SELECT originator_id, topic, state FROM {log}
WHERE originator_id = ANY (%(ids)s) AND notification_id < %(before)s
ORDER BY originator_id, originator_version
