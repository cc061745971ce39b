-- The role that pgweir uses for itself: probing the nodes, reading the catalog and looking up
-- password verifiers. Run this once as superuser on the primary, in the database `postgres`:
--
--     psql -d postgres -f pgweir-role.sql
--     psql -d postgres -c '\password pgweir'
--
-- and put the password into pgweir.toml ([cluster] password, or password_file).
--
-- The role may log in, read the monitoring views and call one function. It cannot read tables
-- of yours; what it reads of the catalog every role may read.

CREATE ROLE pgweir LOGIN;

-- Replication positions and sessions of others (pg_stat_replication, pg_stat_activity).
GRANT pg_monitor TO pgweir;

CREATE SCHEMA pgweir;
REVOKE ALL ON SCHEMA pgweir FROM PUBLIC;
GRANT USAGE ON SCHEMA pgweir TO pgweir;

-- Hands out one role's password verifier, so that users log in to pgweir as they do to
-- Postgres, without being listed in pgweir's configuration. A verifier is not a password, but
-- guard it as one: only pgweir may call this. SECURITY DEFINER with a fixed search_path, see
-- https://www.postgresql.org/docs/current/sql-createfunction.html#SQL-CREATEFUNCTION-SECURITY
CREATE FUNCTION pgweir.user_lookup(name text)
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

-- Where CONNECT has been revoked from PUBLIC, pgweir needs it on each database that it serves:
--     GRANT CONNECT ON DATABASE shop TO pgweir;
