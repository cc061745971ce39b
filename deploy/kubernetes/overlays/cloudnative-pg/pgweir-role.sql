-- The role that pgweir uses for itself: it probes the nodes, reads the catalog and looks up
-- password verifiers. `pgweir init --primary HOST:PORT` does all of this and writes a pgweir.toml.
-- By hand, once, as superuser on the primary, in the database `postgres`:
--
--     psql -h 10.0.0.1 -U postgres -d postgres -f pgweir-role.sql
--     psql -h 10.0.0.1 -U postgres -d postgres -c '\password pgweir'
--
-- Then write the password into pgweir.toml ([cluster] password, or password_file). The file may be
-- run again: it changes nothing that is already as it should be.
--
-- The role may log in, read the monitoring views and call one function. It cannot read your
-- tables; what it reads of the catalog, every role may read.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'pgweir') THEN
        CREATE ROLE pgweir;
    END IF;
END
$$;
ALTER ROLE pgweir LOGIN;

-- Replication positions and sessions of others (pg_stat_replication, pg_stat_activity).
GRANT pg_monitor TO pgweir;

CREATE SCHEMA IF NOT EXISTS pgweir;
REVOKE ALL ON SCHEMA pgweir FROM PUBLIC;
GRANT USAGE ON SCHEMA pgweir TO pgweir;

-- Hands out one role's password verifier, so that users log in to pgweir as they do to
-- Postgres, without being listed in pgweir's configuration. A verifier is not a password, but
-- guard it as one: only pgweir may call this. SECURITY DEFINER with a fixed search_path, see
-- https://www.postgresql.org/docs/current/sql-createfunction.html#SQL-CREATEFUNCTION-SECURITY
CREATE OR REPLACE FUNCTION pgweir.user_lookup(name text)
    RETURNS TABLE (rolname name, rolpassword text, rolvaliduntil timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
        SELECT a.rolname, a.rolpassword, a.rolvaliduntil
          FROM pg_catalog.pg_authid AS a
         WHERE a.rolname = user_lookup.name
    $$;
REVOKE ALL ON FUNCTION pgweir.user_lookup(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgweir.user_lookup(text) TO pgweir;

-- Where CONNECT has been revoked from PUBLIC, pgweir needs it on each database that it serves
-- (`pgweir check --connect` names them):
--     GRANT CONNECT ON DATABASE shop TO pgweir;
