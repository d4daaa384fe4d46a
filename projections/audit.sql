-- name: create
-- Who did what, when, why, and by which request: starts, changes of status, acts of people, signals, deploys,
-- migrations and changes of webhooks, in the order of the log. Deploys and webhooks belong to no instance, and a fork's
-- copies to their original alone.
CREATE TABLE IF NOT EXISTS {views}.audit (
    position   bigint PRIMARY KEY,
    namespace  text NOT NULL,
    kind       text NOT NULL,
    event      text NOT NULL,
    instance   text COLLATE "C",
    definition text,
    version    bigint NOT NULL,
    actor      text,
    reason     text,
    request_id text,
    at         timestamptz NOT NULL,
    detail     jsonb NOT NULL
);
CREATE INDEX IF NOT EXISTS audit_instance ON {views}.audit (instance, position);
CREATE INDEX IF NOT EXISTS audit_namespace ON {views}.audit (namespace, position);
CREATE INDEX IF NOT EXISTS audit_actor ON {views}.audit (namespace, left(actor, 200), position);
CREATE INDEX IF NOT EXISTS audit_kind ON {views}.audit (namespace, kind, position);
CREATE INDEX IF NOT EXISTS audit_at ON {views}.audit (namespace, at)

-- name: origins
-- The first event of each instance says where it belongs. Read from the log, so that no other view is needed.
SELECT originator_id, topic, state FROM {log}
WHERE originator_id = ANY (%(ids)s) AND originator_version = 1

-- name: led_up
-- Newest first, for the beginning of a command that was under way where a batch begins.
SELECT topic, state FROM {log}
WHERE originator_id = %(stream)s AND originator_version < %(version)s
ORDER BY originator_version DESC
LIMIT %(limit)s

-- name: forget_copies
-- What a fork has copied was done once, to another instance: there it stands.
DELETE FROM {views}.audit WHERE instance = %(stream)s AND version < %(version)s

-- name: insert
-- All rows of a batch at once. A position that is there already would be an event applied twice: that must fail.
INSERT INTO {views}.audit
SELECT * FROM json_populate_recordset(NULL::{views}.audit, %(rows)s::json)
