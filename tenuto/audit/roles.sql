-- The server's own role: it may add to the log and read it, and never change or delete what is there.
-- Run as the owner of the database, once after the first `tenuto serve` has made the schemas, and again after an upgrade
-- that makes new tables:
--
--   tenuto audit roles --app tenuto_app | psql postgresql://owner@db/tenuto
--
-- Then give the role a password, and TENUTO_DATABASE_URL its name.
BEGIN;

DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{app}') THEN
        CREATE ROLE "{app}" LOGIN;
    END IF;
END $$;

-- The log: add and read. Everything else in its schema is derived, and kept up to date.
REVOKE ALL ON ALL TABLES IN SCHEMA "{log}" FROM PUBLIC, "{app}";
REVOKE ALL ON SCHEMA "{log}" FROM PUBLIC, "{app}";
GRANT USAGE ON SCHEMA "{log}" TO "{app}";
GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA "{log}" TO "{app}";
GRANT USAGE ON ALL SEQUENCES IN SCHEMA "{log}" TO "{app}";
DO $$
DECLARE derived text;
BEGIN
    FOR derived IN
        SELECT tablename FROM pg_tables
        WHERE schemaname = '{log}' AND tablename NOT IN ('stored_events', 'settings', 'holes')
    LOOP
        EXECUTE format('GRANT UPDATE, DELETE ON %I.%I TO %I', '{log}', derived, '{app}');
    END LOOP;
END $$;
REVOKE INSERT ON "{log}".settings FROM "{app}";

-- The projections, their views and the notary's tree are the server's own: they are made from the log, and made again at
-- will; a rebuild makes a schema of its own. So is what webhooks need: their secrets, and how far each is.
DO $$
DECLARE object record;
BEGIN
    EXECUTE format('GRANT CREATE ON DATABASE %I TO %I', current_database(), '{app}');
    FOR object IN
        SELECT c.relname, n.nspname, c.relkind FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname IN ('{views}', '{published}', '{notary}', '{feeds}') AND c.relkind IN ('r', 'v', 'm', 'p')
    LOOP
        EXECUTE format('ALTER %s %I.%I OWNER TO %I',
            CASE object.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END,
            object.nspname, object.relname, '{app}');
    END LOOP;
    FOR object IN SELECT nspname FROM pg_namespace WHERE nspname IN ('{views}', '{published}', '{notary}', '{feeds}') LOOP
        EXECUTE format('ALTER SCHEMA %I OWNER TO %I', object.nspname, '{app}');
    END LOOP;
END $$;

COMMIT;
