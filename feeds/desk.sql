-- name: create
-- What delivery keeps for itself: who delivers, how far it is, what is given up. `since` tells a registration from an
-- earlier one of the same name. Secrets stand here and not in the log.
CREATE SCHEMA IF NOT EXISTS {feeds};
CREATE TABLE IF NOT EXISTS {secrets} (
    id text COLLATE "C" PRIMARY KEY,
    secret text NOT NULL
);
CREATE TABLE IF NOT EXISTS {deliveries} (
    webhook text COLLATE "C" PRIMARY KEY,
    since bigint NOT NULL,
    position bigint NOT NULL,
    holder text,
    held_until timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz,
    last_error text,
    last_error_at timestamptz,
    delivered_at timestamptz
) WITH (fillfactor = 50);
CREATE TABLE IF NOT EXISTS {dead_letters} (
    webhook text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    attempts integer NOT NULL,
    error text NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (webhook, position)
);

-- name: made
-- CREATE … IF NOT EXISTS asks for rights that a server's role need not have.
SELECT FROM pg_catalog.pg_tables WHERE schemaname = %(schema)s AND tablename = 'dead_letters'

-- name: lock
-- Several servers start at once, and IF NOT EXISTS alone does not make that safe.
SELECT pg_advisory_xact_lock(hashtext(%(name)s))

-- name: keep_secret
INSERT INTO {secrets} (id, secret) VALUES (%(id)s, %(secret)s)

-- name: secret
SELECT secret FROM {secrets} WHERE id = %(id)s

-- name: begin
-- A registration that is new starts after the event that began it.
INSERT INTO {deliveries} AS d (webhook, since, position) VALUES (%(webhook)s, %(since)s, %(position)s)
ON CONFLICT (webhook) DO UPDATE SET since = excluded.since, position = excluded.position, holder = NULL, attempts = 0,
    next_attempt_at = NULL, last_error = NULL, last_error_at = NULL, delivered_at = NULL
WHERE d.since < excluded.since

-- name: hold
-- One server delivers at a time: who holds the row, or finds it let go. No row comes back to the others.
UPDATE {deliveries} SET holder = %(holder)s, held_until = %(until)s
WHERE webhook = %(webhook)s AND since = %(since)s
    AND (holder IS NULL OR holder = %(holder)s OR held_until <= %(now)s)
RETURNING position, attempts, next_attempt_at

-- name: let_go
UPDATE {deliveries} SET holder = NULL, held_until = NULL WHERE webhook = %(webhook)s AND holder = %(holder)s

-- name: delivered
-- Only while it is held: whoever lost the row meanwhile must not move it. `delivered_at` stays when nothing was sent.
UPDATE {deliveries} SET position = %(position)s, attempts = 0, next_attempt_at = NULL, held_until = %(until)s,
    delivered_at = coalesce(%(at)s, delivered_at)
WHERE webhook = %(webhook)s AND since = %(since)s AND holder = %(holder)s
RETURNING position

-- name: failed
UPDATE {deliveries} SET attempts = %(attempts)s, next_attempt_at = %(next_attempt_at)s, last_error = %(error)s,
    last_error_at = %(at)s, held_until = %(until)s
WHERE webhook = %(webhook)s AND since = %(since)s AND holder = %(holder)s
RETURNING position

-- name: bury
-- The event is given up, and the ones after it go on, in one statement.
WITH moved AS (
    UPDATE {deliveries} SET position = %(position)s, attempts = 0, next_attempt_at = NULL, last_error = %(error)s,
        last_error_at = %(at)s, held_until = %(until)s
    WHERE webhook = %(webhook)s AND since = %(since)s AND holder = %(holder)s
    RETURNING webhook
)
INSERT INTO {dead_letters} (webhook, position, attempts, error, at)
SELECT webhook, %(position)s, %(attempts)s, %(error)s, %(at)s FROM moved
ON CONFLICT (webhook, position) DO UPDATE SET attempts = excluded.attempts, error = excluded.error, at = excluded.at
RETURNING position

-- name: status
SELECT d.webhook, d.position, d.attempts, d.next_attempt_at, d.last_error, d.last_error_at, d.delivered_at, d.holder,
       (SELECT count(*) FROM {dead_letters} AS l WHERE l.webhook = d.webhook) AS dead_letters
FROM {deliveries} AS d WHERE d.webhook = ANY (%(webhooks)s)

-- name: dead_letters
SELECT position, attempts, error, at FROM {dead_letters}
WHERE webhook = %(webhook)s AND position > %(after)s ORDER BY position LIMIT %(limit)s

-- name: dead_letter
SELECT position, attempts, error, at FROM {dead_letters} WHERE webhook = %(webhook)s AND position = %(position)s

-- name: redelivered
DELETE FROM {dead_letters} WHERE webhook = %(webhook)s AND position = %(position)s

-- name: again_failed
UPDATE {dead_letters} SET attempts = attempts + 1, error = %(error)s, at = %(at)s
WHERE webhook = %(webhook)s AND position = %(position)s

-- name: forget
-- Of a webhook that was removed.
DELETE FROM {dead_letters} WHERE webhook = %(webhook)s
