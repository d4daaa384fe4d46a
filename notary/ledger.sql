-- name: schemas
-- CREATE SCHEMA IF NOT EXISTS would ask for a right that is not needed when it is there.
SELECT count(*) FROM pg_namespace WHERE nspname = %(schema)s

-- name: create
-- Tiles hold 256 hashes each: level 0 the leaves, each level above the roots of the tiles below. Only the last tile of a
-- level grows; hashes do not compress. What was signed is kept here for reading; the truth of it is the exported file.
CREATE TABLE IF NOT EXISTS {notary}.head (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    origin   text COLLATE "C" NOT NULL,
    size     bigint NOT NULL,
    position bigint NOT NULL
) WITH (fillfactor = 10);
CREATE TABLE IF NOT EXISTS {notary}.tiles (
    level          integer NOT NULL,
    number         bigint NOT NULL,
    first_position bigint NOT NULL,
    hashes         bytea STORAGE EXTERNAL NOT NULL,
    PRIMARY KEY (level, number)
);
CREATE INDEX IF NOT EXISTS tiles_position ON {notary}.tiles (first_position) WHERE level = 0;
CREATE TABLE IF NOT EXISTS {notary}.checkpoints (
    size     bigint NOT NULL,
    key      text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    at       timestamptz NOT NULL,
    note     text NOT NULL,
    PRIMARY KEY (size, key)
)

-- name: begin
-- A tree that is new starts before the first event.
INSERT INTO {notary}.head (origin, size, position) VALUES (%(origin)s, 0, 0) ON CONFLICT DO NOTHING

-- name: head
SELECT origin, size, position FROM {notary}.head

-- name: lock
-- Whoever holds this row is the only one who lets the tree grow.
SELECT size, position FROM {notary}.head FOR UPDATE

-- name: move
UPDATE {notary}.head SET size = %(size)s, position = %(position)s

-- name: read
-- The next events in order. Payloads are measured before they are fetched, so that memory stays bounded.
SELECT notification_id, originator_id, originator_version, topic, state
FROM (
    SELECT *, sum(coalesce(octet_length(state), 0)) OVER (ORDER BY notification_id) - coalesce(octet_length(state), 0)
        AS bytes_before
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

-- name: write
-- The last tile of a level is written again as it grows; a full one never changes.
INSERT INTO {notary}.tiles AS t (level, number, first_position, hashes)
SELECT * FROM unnest(%(levels)s::integer[], %(numbers)s::bigint[], %(positions)s::bigint[], %(hashes)s::bytea[])
ON CONFLICT (level, number) DO UPDATE SET hashes = excluded.hashes

-- name: tile
SELECT first_position, hashes FROM {notary}.tiles WHERE level = %(level)s AND number = %(number)s

-- name: record
INSERT INTO {notary}.checkpoints (size, key, position, at, note)
VALUES (%(size)s, %(key)s, %(position)s, %(at)s, %(note)s)
ON CONFLICT DO NOTHING

-- name: checkpoints
-- Oldest first, paged by size.
SELECT size, position, at, note FROM {notary}.checkpoints
WHERE key = %(key)s AND size > %(after)s
ORDER BY size
LIMIT %(limit)s

-- name: ranked
-- Where events stand in the tree: a tile, and how many events of it come before. A tile has at most 256.
SELECT e.notification_id, e.originator_id, e.originator_version, e.topic, e.state, t.number * 256 + (
    SELECT count(*) FROM {log} AS b
    WHERE b.notification_id >= t.first_position AND b.notification_id < e.notification_id)
FROM {log} AS e
LEFT JOIN LATERAL (
    SELECT number, first_position FROM {notary}.tiles
    WHERE level = 0 AND first_position <= e.notification_id
    ORDER BY first_position DESC
    LIMIT 1
) AS t ON true
WHERE (%(position)s::bigint IS NULL OR e.notification_id = %(position)s)
    AND (%(stream)s::text IS NULL OR e.originator_id = %(stream)s)
    AND (%(version)s::bigint IS NULL OR e.originator_version = %(version)s)
    AND (%(position)s::bigint IS NOT NULL OR %(stream)s::text IS NOT NULL)
ORDER BY e.notification_id
LIMIT %(limit)s
