-- name: create
-- One row per counter, keyed by a digest, because an index refuses very long keys. Few rows, changed in every batch.
-- A fork's copies are not in it.
CREATE TABLE IF NOT EXISTS {views}.definition_statistics (
    namespace  text NOT NULL,
    definition text NOT NULL,
    version    text NOT NULL,
    step       text COLLATE "C" NOT NULL,
    measure    text COLLATE "C" NOT NULL,
    bucket     smallint NOT NULL,
    count      bigint NOT NULL
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX IF NOT EXISTS definition_statistics_counter ON {views}.definition_statistics
    (md5(namespace || ' ' || definition || ' ' || version), step, measure, bucket);
CREATE INDEX IF NOT EXISTS definition_statistics_measure ON {views}.definition_statistics (measure, md5(definition))

-- name: add
-- Counts only add up, so it does not matter where batches are cut.
INSERT INTO {views}.definition_statistics AS counted
SELECT * FROM json_populate_recordset(NULL::{views}.definition_statistics, %(rows)s::json)
ON CONFLICT (md5(namespace || ' ' || definition || ' ' || version), step, measure, bucket)
    DO UPDATE SET count = counted.count + excluded.count
