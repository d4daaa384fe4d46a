-- name: create
-- The audit trail: every change of status of every instance, in the order of the log. Rows are only ever added.
CREATE TABLE IF NOT EXISTS {views}.transitions (
    position    bigint PRIMARY KEY,
    namespace   text NOT NULL,
    definition  text NOT NULL,
    instance    text COLLATE "C" NOT NULL,
    version     bigint NOT NULL,
    from_status text NOT NULL,
    to_status   text NOT NULL,
    reason      text NOT NULL,
    actor       text,
    at          timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS transitions_instance ON {views}.transitions (instance, position);
CREATE INDEX IF NOT EXISTS transitions_namespace ON {views}.transitions (namespace, position)

-- name: insert
-- All rows of a batch at once. A position that is there already would be an event applied twice: that must fail.
INSERT INTO {views}.transitions
SELECT * FROM json_populate_recordset(NULL::{views}.transitions, %(rows)s::json)
