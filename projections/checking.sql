-- name: position
-- Its rows are exactly those of the events up to here: they and the position were one commit.
SELECT position FROM {views}.positions WHERE projection = %(projection)s

-- name: read
-- The events of a few instances, in the log's order.
SELECT notification_id, originator_id, originator_version, topic, state
FROM {log}
WHERE originator_id = ANY ({instances}) AND notification_id > %(after)s AND notification_id <= %(upto)s
    AND %(bytes)s > 0
ORDER BY notification_id
LIMIT %(limit)s

-- name: compare
-- Row by row, as text, both ways.
WITH
    live AS (SELECT it::text AS line FROM {live} AS it WHERE {column} = ANY ({instances})),
    again AS (SELECT it::text AS line FROM {again} AS it),
    only_live AS (SELECT line FROM live EXCEPT ALL SELECT line FROM again),
    only_again AS (SELECT line FROM again EXCEPT ALL SELECT line FROM live)
SELECT
    (SELECT count(*) FROM live),
    ARRAY(SELECT '- ' || line FROM only_live LIMIT 5) || ARRAY(SELECT '+ ' || line FROM only_again LIMIT 5)
