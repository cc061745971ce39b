#!/bin/bash
# Runs once, when the primary's database is made: roles for replication, for pgweir, for the application.
set -euo pipefail
psql -v ON_ERROR_STOP=1 -U postgres <<'SQL'
CREATE ROLE replicator REPLICATION LOGIN PASSWORD 'replicator';
CREATE ROLE app LOGIN PASSWORD 'app';
CREATE DATABASE app OWNER app;
\ir /pgweir-role.sql
ALTER ROLE pgweir PASSWORD 'secret';
SQL
echo "host replication replicator all scram-sha-256" >> "$PGDATA/pg_hba.conf"
