-- name: copies
-- All that is before its `Forked` in a fork's history.
SELECT notification_id, originator_version, topic, state FROM {log}
WHERE originator_id = %(stream)s AND originator_version < %(version)s
ORDER BY originator_version
