-- name: create
-- How many attempts of a queue were taken in a minute, by how long they had waited (`projections/histogram.py`).
CREATE TABLE IF NOT EXISTS {views}.queues (
    minute timestamptz NOT NULL,
    queue  text COLLATE "C" NOT NULL,
    bucket smallint NOT NULL,
    count  bigint NOT NULL,
    PRIMARY KEY (minute, queue, bucket)
) WITH (fillfactor = 50)

-- name: add
-- Counts only add up, so it does not matter where batches are cut.
INSERT INTO {views}.queues AS counted
SELECT * FROM json_populate_recordset(NULL::{views}.queues, %(rows)s::json)
ON CONFLICT (minute, queue, bucket) DO UPDATE SET count = counted.count + excluded.count

-- name: forget
-- By the newest minute, not by a clock: a rebuild forgets the same.
DELETE FROM {views}.queues WHERE minute < (SELECT max(minute) FROM {views}.queues) - interval '1 hour'
