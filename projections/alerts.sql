-- name: create
-- One row per alert of an instance, as it was raised last. With the definition these are the brief's seven fields.
CREATE TABLE IF NOT EXISTS {views}.alerts (
    instance             text COLLATE "C" NOT NULL,
    alert                text COLLATE "C" NOT NULL,
    position             bigint NOT NULL,
    namespace            text NOT NULL,
    definition           text NOT NULL,
    severity             text NOT NULL,
    step                 text NOT NULL,
    action               text NOT NULL,
    message              text NOT NULL,
    error                jsonb,
    retry_count          integer,
    raised_at            timestamptz NOT NULL,
    acknowledged_at      timestamptz,
    acknowledged_by      text,
    acknowledged_because text,
    PRIMARY KEY (instance, alert)
);
CREATE INDEX IF NOT EXISTS alerts_newest ON {views}.alerts (namespace, position);
CREATE INDEX IF NOT EXISTS alerts_open ON {views}.alerts (namespace, position) WHERE acknowledged_at IS NULL

-- name: raise
-- Raised again, it is open again.
INSERT INTO {views}.alerts
SELECT * FROM json_populate_recordset(NULL::{views}.alerts, %(rows)s::json)
ON CONFLICT (instance, alert) DO UPDATE SET
    position = excluded.position,
    severity = excluded.severity,
    action = excluded.action,
    message = excluded.message,
    error = excluded.error,
    retry_count = excluded.retry_count,
    raised_at = excluded.raised_at,
    acknowledged_at = NULL,
    acknowledged_by = NULL,
    acknowledged_because = NULL

-- name: acknowledge
-- Somebody has looked.
UPDATE {views}.alerts AS alert SET
    acknowledged_at = seen.acknowledged_at,
    acknowledged_by = seen.acknowledged_by,
    acknowledged_because = seen.acknowledged_because
FROM json_populate_recordset(NULL::{views}.alerts, %(rows)s::json) AS seen
WHERE alert.instance = seen.instance AND alert.alert = seen.alert
