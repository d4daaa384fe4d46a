-- One shard: its event log, and what is derived from it in the same transaction. Installed once, by installation.py,
-- which has set search_path to the shard's schema. Text is compared by bytes (COLLATE "C"): ids have no language,
-- and an index must not break when the operating system's collations change.

-- The log, as the eventsourcing library shapes it (a test compares the two). Nothing is ever updated or deleted,
-- so vacuum has nothing to do but to freeze.
CREATE TABLE stored_events (
    originator_id text COLLATE "C" NOT NULL,
    originator_version bigint NOT NULL,
    topic text,
    state bytea,
    notification_id bigserial,
    PRIMARY KEY (originator_id, originator_version)
) WITH (
    autovacuum_enabled = true,
    autovacuum_vacuum_threshold = 100000000,
    autovacuum_vacuum_scale_factor = 0.5,
    autovacuum_analyze_threshold = 1000,
    autovacuum_analyze_scale_factor = 0.01
);
CREATE UNIQUE INDEX stored_events_notification_id_idx ON stored_events (notification_id);

-- The log for people: payloads are UTF-8 JSON, so SQL can look into them.
CREATE VIEW events_json AS
    SELECT notification_id AS position, originator_id AS stream, originator_version AS version, topic,
           convert_from(state, 'UTF8')::jsonb AS payload
    FROM stored_events;

-- Takes no row: an append that would leave a hole in a stream tries to put the stream's id here, and so fails.
CREATE TABLE holes (stream text COLLATE "C" CONSTRAINT stream_without_holes CHECK (false));

-- What instances still wait on the world to do: the set owed(state) made rows, derived from the log and rebuilt
-- from it at will. Rows are short-lived, so pages are half empty and dead rows are cleared early and at full speed.
CREATE TABLE owed (
    namespace text COLLATE "C" NOT NULL,
    instance text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    attempt integer NOT NULL,
    action text COLLATE "C",
    queue text COLLATE "C",
    priority integer NOT NULL,
    due_at timestamptz,
    timer_at timestamptz,
    token text COLLATE "C",
    session text COLLATE "C",
    signal text COLLATE "C",
    correlation_key text COLLATE "C",
    PRIMARY KEY (instance, key)
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_threshold = 500,
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_insert_threshold = -1,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_threshold = 500,
    autovacuum_analyze_scale_factor = 0.05
);
CREATE INDEX owed_claimable_idx ON owed (queue, priority, due_at) WHERE kind = 'invoke';
CREATE INDEX owed_child_idx ON owed (instance, key) WHERE kind = 'child';
CREATE INDEX owed_timer_idx ON owed (timer_at) WHERE timer_at IS NOT NULL;
CREATE INDEX owed_session_idx ON owed (session) WHERE kind = 'await' AND session IS NOT NULL;
CREATE INDEX owed_correlation_idx ON owed (namespace, correlation_key)
    WHERE kind = 'listen' AND correlation_key IS NOT NULL;

-- What clients asked under a key of theirs, so that the same key is answered as it was the first time.
CREATE TABLE client_commands (
    namespace text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    body_hash text COLLATE "C" NOT NULL,
    instance text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (namespace, key)
);

-- Who holds leases, and until when. One row per session, renewed in place each second.
CREATE TABLE sessions (
    id text COLLATE "C" PRIMARY KEY,
    worker text COLLATE "C" NOT NULL,
    expires_at timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);

-- Folded states, to spare a cold load the whole history. One per stream and shape of state, so that two releases
-- may run side by side.
CREATE TABLE snapshots (
    stream text COLLATE "C" NOT NULL,
    state_version integer NOT NULL,
    version bigint NOT NULL,
    payload bytea NOT NULL,
    PRIMARY KEY (stream, state_version)
);

-- One row. The secret signs lease tokens: 244 random bits, made once, here.
CREATE TABLE settings (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    schema_version integer NOT NULL,
    secret bytea NOT NULL
        DEFAULT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
);
