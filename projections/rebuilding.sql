-- name: drop
-- Of a rebuild that was given up, or that a crash cut short.
DROP SCHEMA IF EXISTS {views} CASCADE

-- name: compare
-- Row by row, as text: in one snapshot, with both sides at the same position.
WITH
    live AS (SELECT it::text AS line FROM {live} AS it),
    rebuilt AS (SELECT it::text AS line FROM {rebuilt} AS it),
    only_live AS (SELECT line FROM live EXCEPT ALL SELECT line FROM rebuilt),
    only_rebuilt AS (SELECT line FROM rebuilt EXCEPT ALL SELECT line FROM live)
SELECT
    (SELECT count(*) FROM live),
    (SELECT count(*) FROM rebuilt),
    (SELECT count(*) FROM only_live),
    (SELECT count(*) FROM only_rebuilt),
    ARRAY(SELECT '- ' || line FROM only_live LIMIT 5) || ARRAY(SELECT '+ ' || line FROM only_rebuilt LIMIT 5)

-- name: keep_grants
-- Who may read the live table may read the one that takes its place.
DO $$
DECLARE held record;
BEGIN
    FOR held IN
        SELECT granted.grantee, granted.privilege_type
        FROM pg_class, aclexplode(relacl) AS granted
        WHERE pg_class.oid = to_regclass('{live}') AND granted.grantee <> relowner
    LOOP
        EXECUTE format(
            'GRANT %%s ON {rebuilt} TO %%s',
            held.privilege_type,
            CASE held.grantee WHEN 0 THEN 'PUBLIC' ELSE held.grantee::regrole::text END
        );
    END LOOP;
END $$

-- name: keep_owner
-- Remembered for the transaction: the live table is gone when the new one stands where its owner may have one.
SELECT set_config('tenuto.owner', relowner::regrole::text, true) FROM pg_class WHERE oid = to_regclass('{live}')

-- name: drop_live
-- Readers that have begun are waited for; those that come now wait for the commit and find the new table.
DROP TABLE IF EXISTS {live}

-- name: take_over
-- With its indexes, under the same name.
ALTER TABLE {rebuilt} SET SCHEMA {live_schema}

-- name: give_to_owner
-- A superuser may rebuild what is the server's own: the server goes on writing to it, and the views go on reading it.
DO $$
BEGIN
    IF current_setting('tenuto.owner', true) <> '' AND current_setting('tenuto.owner') <> quote_ident(current_user) THEN
        EXECUTE format('ALTER TABLE {live} OWNER TO %%s', current_setting('tenuto.owner'));
    END IF;
END $$

-- name: adopt_shape
-- Both stand at the same position, so the shape is all that can have changed.
UPDATE {live_schema}.positions SET shape = %(shape)s WHERE projection = %(projection)s
