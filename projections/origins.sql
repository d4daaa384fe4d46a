-- name: origins
-- The first event of each instance says where it belongs. Read from the log, so that no other view is needed.
SELECT originator_id, originator_version, topic, state FROM {log}
WHERE originator_id = ANY (%(ids)s) AND originator_version = 1
