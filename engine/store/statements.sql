-- Every statement of the PostgreSQL store, by name; the line below a name says why it is written as it is.
-- Tables are found through search_path, which each connection sets to the shard's schema.

-- name: lock
-- One append at a time, so that positions appear in commit order; a table lock would clash with autovacuum.
SELECT pg_advisory_xact_lock(%(lock)b::bigint)

-- name: append
-- All of it in one statement: one transaction, one answer, and what psycopg and the server do for each is done once.
-- The lock comes before anything that it protects, because whatever writes is fed through it.
-- The unique key refuses a writer who is behind; `holes` one who is ahead (its events were lost in a failover).
WITH locked AS MATERIALIZED (
    SELECT pg_advisory_xact_lock(%(lock)b::bigint),
           CASE WHEN cardinality(%(streams)b::text[]) > 0 THEN pg_notify(%(channel)b::text, '') END
), refused AS (
    INSERT INTO holes (stream)
    SELECT new.stream
    FROM locked, unnest(%(first_of)b::text[], %(firsts)b::bigint[]) AS new (stream, version)
    WHERE new.version > 1 AND (
        SELECT e.originator_version FROM stored_events AS e
        WHERE e.originator_id = new.stream AND e.originator_version = new.version - 1
    ) IS NULL
), withdrawn AS (
    -- What is not there was withdrawn before.
    DELETE FROM owed
    USING locked, unnest(%(gone_instances)b::text[], %(gone_keys)b::text[]) AS gone (instance, key)
    WHERE owed.instance = gone.instance AND owed.key = gone.key
), owed_now AS (
    -- An execution has one row, whatever it owes next. The rows come in key order.
    INSERT INTO owed (namespace, instance, key, kind, attempt, action, queue, priority, due_at, timer_at, token, session,
                      signal, correlation_key)
    SELECT new.* FROM locked, unnest(
        %(owed_namespace)b::text[], %(owed_instance)b::text[], %(owed_key)b::text[], %(owed_kind)b::text[],
        %(owed_attempt)b::integer[], %(owed_action)b::text[], %(owed_queue)b::text[], %(owed_priority)b::integer[],
        %(owed_due_at)b::timestamptz[], %(owed_timer_at)b::timestamptz[], %(owed_token)b::text[],
        %(owed_session)b::text[], %(owed_signal)b::text[], %(owed_correlation_key)b::text[]) AS new
    ON CONFLICT (instance, key) DO UPDATE SET
        namespace = excluded.namespace, kind = excluded.kind, attempt = excluded.attempt, action = excluded.action,
        queue = excluded.queue, priority = excluded.priority, due_at = excluded.due_at, timer_at = excluded.timer_at,
        token = excluded.token, session = excluded.session, signal = excluded.signal,
        correlation_key = excluded.correlation_key
), answered AS (
    -- No ON CONFLICT: a key that another writer has recorded must undo the whole batch.
    INSERT INTO client_commands (namespace, key, body_hash, instance, version, at)
    SELECT new.* FROM locked, unnest(
        %(command_namespace)b::text[], %(command_key)b::text[], %(command_body_hash)b::text[],
        %(command_instance)b::text[], %(command_version)b::bigint[], %(command_at)b::timestamptz[]) AS new
)
INSERT INTO stored_events (originator_id, originator_version, topic, state)
SELECT new.* FROM locked, unnest(
    %(streams)b::text[], %(versions)b::bigint[], %(topics)b::text[], %(payloads)b::bytea[]) AS new
RETURNING notification_id

-- name: load
-- One statement sees one moment, so the events are exactly those after the snapshot. A snapshot has no topic.
WITH asked AS MATERIALIZED (
    SELECT a.stream, s.version, s.payload
    FROM unnest(%(streams)b::text[]) AS a (stream)
    LEFT JOIN snapshots AS s ON s.stream = a.stream AND s.state_version = %(state_version)b::integer
)
SELECT stream, version, '' AS topic, payload, 0::bigint AS position FROM asked WHERE version IS NOT NULL
UNION ALL
SELECT asked.stream, e.originator_version, e.topic, e.state, e.notification_id
FROM asked JOIN stored_events AS e
    ON e.originator_id = asked.stream AND e.originator_version > coalesce(asked.version, 0)
ORDER BY stream, version

-- name: read
-- A limit of null is none.
SELECT originator_id, originator_version, topic, state, notification_id
FROM stored_events
WHERE originator_id = %(stream)b::text AND originator_version > %(after)b::bigint
    AND originator_version <= coalesce(%(upto)b::bigint, 9223372036854775807)
ORDER BY originator_version
LIMIT %(limit)b::bigint

-- name: versions
-- The newest entry of the primary key, for each stream.
SELECT a.stream, coalesce(
    (SELECT max(originator_version) FROM stored_events WHERE originator_id = a.stream), 0)
FROM unnest(%(streams)b::text[]) AS a (stream)

-- name: streams
-- Each stream has a first event. The prefix is a range of the primary key's bytes.
SELECT originator_id FROM stored_events
WHERE originator_id > %(after)b::text AND originator_id >= %(prefix)b::text
    AND starts_with(originator_id, %(prefix)b::text) AND originator_version = 1
ORDER BY originator_id
LIMIT %(limit)b::bigint

-- name: save_snapshots
-- An older snapshot never takes the place of a newer one.
INSERT INTO snapshots AS s (stream, version, state_version, payload)
SELECT * FROM unnest(%b::text[], %b::bigint[], %b::integer[], %b::bytea[])
ON CONFLICT (stream, state_version) DO UPDATE SET version = excluded.version, payload = excluded.payload
WHERE s.version < excluded.version

-- name: client_commands
-- By primary key.
SELECT namespace, key, body_hash, instance, version, at FROM client_commands
WHERE namespace = %(namespace)b::text AND key = ANY (%(keys)b::text[])

-- name: owed_by
-- What becomes due within a horizon is little; it is found through two partial indexes.
SELECT * FROM owed
WHERE ((kind = 'invoke' AND due_at <= %(horizon)b::timestamptz) OR timer_at <= %(horizon)b::timestamptz)
    AND (instance, key) > (%(instance)b::text, %(key)b::text)
ORDER BY instance, key
LIMIT %(limit)b::bigint

-- name: claimable
-- Each queue's own best, so that a long queue is never sorted, and the best of those.
SELECT best.*
FROM unnest(%(queues)b::text[]) AS asked (queue)
CROSS JOIN LATERAL (
    SELECT * FROM owed
    WHERE owed.kind = 'invoke' AND owed.queue = asked.queue AND owed.due_at <= %(now)b::timestamptz
        AND (owed.instance, owed.key) NOT IN (SELECT * FROM unnest(%(instances)b::text[], %(keys)b::text[]))
    ORDER BY owed.priority, owed.due_at, owed.instance, owed.key
    LIMIT %(limit)b::bigint
) AS best
ORDER BY best.priority, best.due_at, best.instance, best.key
LIMIT %(limit)b::bigint

-- name: owed_of
-- By the leading column of the primary key.
SELECT * FROM owed WHERE instance = ANY (%(instances)b::text[]) ORDER BY instance, key

-- name: owed_under
-- The leases of some sessions, to be given back or given up.
SELECT * FROM owed WHERE kind = 'await' AND session = ANY (%(sessions)b::text[]) ORDER BY instance, key

-- name: children
-- A child that has something to do is left alone: there may be many, and they run for months.
SELECT * FROM owed
WHERE kind = 'child' AND (instance, key) > (%(instance)b::text, %(key)b::text)
    AND (key LIKE '%%/undo' OR NOT EXISTS (SELECT FROM owed AS child WHERE child.instance = owed.token))
ORDER BY instance, key
LIMIT %(limit)b::bigint

-- name: listeners
-- A correlation key is one namespace's own. A row without a signal listens for any.
SELECT DISTINCT instance FROM owed
WHERE namespace = %(namespace)b::text AND correlation_key = %(correlation_key)b::text AND kind = 'listen'
    AND (signal IS NULL OR signal = %(signal)b::text)
ORDER BY instance

-- name: kept
-- Kept signals have streams of their own, a range of the primary key; most of them wait for nobody that is there.
SELECT k.* FROM owed AS k
WHERE k.instance >= 'signals/' AND k.instance < 'signals0' AND k.kind = 'kept'
    AND (k.instance, k.key) > (%(instance)b::text, %(key)b::text)
    AND (k.due_at <= %(now)b::timestamptz OR k.token IS NOT NULL OR EXISTS (
        SELECT FROM owed AS l
        WHERE l.namespace = k.namespace AND l.correlation_key = k.correlation_key AND l.kind = 'listen'
            AND (l.signal IS NULL OR l.signal = k.signal)
    ))
ORDER BY k.instance, k.key
LIMIT %(limit)b::bigint

-- name: renew
-- Says again who is alive. A session long expired counts as one never heard of, so its row may go.
WITH forgotten AS (
    DELETE FROM sessions
    WHERE expires_at < %(oldest)b::timestamptz - interval '1 hour' AND id <> ALL (%(ids)b::text[])
)
INSERT INTO sessions (id, worker, expires_at)
SELECT * FROM unnest(%(ids)b::text[], %(workers)b::text[], %(expiries)b::timestamptz[])
ON CONFLICT (id) DO UPDATE SET worker = excluded.worker, expires_at = excluded.expires_at

-- name: expired_sessions
-- Hops from one session to the next in the index: there are few sessions, and many leases under each.
WITH RECURSIVE holder (session) AS (
    (SELECT session FROM owed WHERE session IS NOT NULL AND kind = 'await' ORDER BY session LIMIT 1)
    UNION ALL
    SELECT (
        SELECT o.session FROM owed AS o
        WHERE o.session > holder.session AND o.kind = 'await' ORDER BY o.session LIMIT 1
    )
    FROM holder WHERE holder.session IS NOT NULL
)
SELECT holder.session FROM holder
LEFT JOIN sessions AS s ON s.id = holder.session
WHERE holder.session IS NOT NULL AND (s.id IS NULL OR s.expires_at <= %(now)b::timestamptz)
ORDER BY holder.session

-- name: end_session
-- Its leases stay in `owed` until the engine has decided on each; without this row they count as expired.
DELETE FROM sessions WHERE id = %(session)b::text

-- name: now
-- The moment of asking, not of the transaction's beginning.
SELECT clock_timestamp()

-- name: secret
-- The one row of the settings.
SELECT secret FROM settings

-- name: histories
-- Of many instances, one after the other, for a reader that fetches a few thousand at a time.
SELECT originator_id, originator_version, topic, state FROM stored_events
WHERE originator_id = ANY (%(streams)b::text[])
ORDER BY originator_id, originator_version

-- name: snapshots_of
-- By primary key.
SELECT stream, version, state_version, payload FROM snapshots
WHERE stream = ANY (%(streams)b::text[]) AND state_version = %(state_version)b::integer
