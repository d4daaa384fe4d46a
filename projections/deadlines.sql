-- name: create
-- One row per deadline of an instance. `escalated`: the last percentage at which it spoke up.
CREATE TABLE IF NOT EXISTS {views}.deadlines (
    instance   text COLLATE "C" NOT NULL,
    name       text COLLATE "C" NOT NULL,
    namespace  text NOT NULL,
    definition text NOT NULL,
    set_at     timestamptz NOT NULL,
    due_at     timestamptz NOT NULL,
    standing   text NOT NULL,
    escalated  integer NOT NULL,
    ended_at   timestamptz,
    PRIMARY KEY (instance, name)
);
CREATE INDEX IF NOT EXISTS deadlines_due ON {views}.deadlines (namespace, due_at, instance, name);
CREATE INDEX IF NOT EXISTS deadlines_open ON {views}.deadlines (namespace, due_at, instance, name)
    WHERE standing = 'open'

-- name: rows
-- The rows that a batch goes on from.
SELECT row_to_json(found)::text FROM {views}.deadlines AS found WHERE instance = ANY (%(instances)s)

-- name: upsert
-- All rows of a batch at once.
INSERT INTO {views}.deadlines
SELECT * FROM json_populate_recordset(NULL::{views}.deadlines, %(rows)s::json)
ON CONFLICT (instance, name) DO UPDATE SET
    set_at = excluded.set_at,
    due_at = excluded.due_at,
    standing = excluded.standing,
    escalated = excluded.escalated,
    ended_at = excluded.ended_at
