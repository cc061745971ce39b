#!/bin/bash
# PostgreSQL's own programs; see items.py for what a line of output means.
# PG_BIN: where they are. PGDATABASE may be filled with tables by these items.
PATH=$PG_BIN:$PATH
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
q() { psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }

psql_reads() { q -c 'SELECT 1 + 1'; }
psql_describes() { q -c 'DROP TABLE IF EXISTS ps_d' -c 'CREATE TABLE ps_d (a int PRIMARY KEY, b text)' && q -c '\d ps_d' && q -c '\dt ps_d' && q -c '\df pg_sleep'; }
psql_runs_a_script() { q -f - <<'S'
DROP TABLE IF EXISTS ps_script;
CREATE TABLE ps_script (n int, t text);
BEGIN; INSERT INTO ps_script VALUES (1, 'a'); SAVEPOINT s; INSERT INTO ps_script VALUES (2, 'b'); ROLLBACK TO s; COMMIT;
COPY ps_script FROM STDIN;
3	c
4	d
\.
\copy (SELECT * FROM ps_script ORDER BY n) TO STDOUT CSV
SELECT count(*) AS n FROM ps_script \gset
\echo :n
SELECT 'SELECT ' || n FROM ps_script ORDER BY n \gexec
S
}
psql_variables_of_the_server() { q -c '\echo :SERVER_VERSION_NAME :ENCODING :USER :DBNAME'; }
psql_error_position() { psql -X -A -t -c 'SELECT 1 FROM nowhere' 2>&1; psql -X -v VERBOSITY=verbose -c 'SELECT 1/0' 2>&1 | grep -v LOCATION; true; }
psql_single_transaction() { q -1 -c 'DROP TABLE IF EXISTS ps_one' -c 'CREATE TABLE ps_one (n int)' -c 'INSERT INTO ps_one VALUES (1)' && q -c 'SELECT count(*) FROM ps_one'; }
psql_fetch_count() { q -v FETCH_COUNT=10 -c 'SELECT sum(n) FROM (SELECT generate_series(1,95) AS n) AS s'; psql -X -A -t -v FETCH_COUNT=7 -c 'SELECT generate_series(1,50)' | md5sum; }
psql_options() { PGOPTIONS='-c search_path=pg_catalog -c statement_timeout=4321' PGAPPNAME=ps q -c 'SHOW search_path' -c 'SHOW statement_timeout' -c 'SHOW application_name'; }
psql_conninfo_attributes() { q "target_session_attrs=read-write" -c 'SELECT 1' && q "target_session_attrs=primary" -c 'SELECT 2' && q "target_session_attrs=any" -c 'SELECT 3'; }
psql_prefers_standby_and_gets_the_primary() { q "target_session_attrs=prefer-standby" -c 'SHOW in_hot_standby'; }
psql_large_object() { echo hello > "$scratch/l"; q -c "\\lo_import $scratch/l" -c "\\lo_export :LASTOID $scratch/m" -c '\lo_unlink :LASTOID' >/dev/null; cat "$scratch/m"; }
psql_watch_is_cancelled() { timeout -s INT 2 psql -X -c 'SELECT pg_sleep(20)' 2>&1 | tail -1; for _ in 1 2 3 4 5 6 7 8 9 10; do n=$(q -c "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(20)' AND state = 'active'"); [ "$n" = 0 ] && break; sleep 0.3; done; echo "$n"; }
pg_isready_says_so() { pg_isready; }
dump_and_restore_plain() { q -f - >/dev/null <<'S'
DROP SCHEMA IF EXISTS dumped CASCADE; CREATE SCHEMA dumped;
CREATE TABLE dumped.a (id serial PRIMARY KEY, t text NOT NULL, d timestamptz DEFAULT '2000-01-01');
INSERT INTO dumped.a (t) SELECT 'row ' || n FROM generate_series(1, 5000) AS n;
CREATE TABLE dumped.b (id int REFERENCES dumped.a, n numeric CHECK (n > 0));
INSERT INTO dumped.b SELECT id, id * 1.5 FROM dumped.a;
CREATE VIEW dumped.v AS SELECT a.t, b.n FROM dumped.a JOIN dumped.b USING (id);
CREATE FUNCTION dumped.f(int) RETURNS int LANGUAGE sql AS 'SELECT $1 + 1';
CREATE INDEX ON dumped.b (n);
SELECT lo_from_bytea(0, 'x');
S
pg_dump -n dumped > "$scratch/one.sql" && q -c 'DROP SCHEMA dumped CASCADE' && psql -X -q -v ON_ERROR_STOP=1 < "$scratch/one.sql" > /dev/null \
  && pg_dump -n dumped > "$scratch/two.sql" && grep -v restrict "$scratch/one.sql" > "$scratch/1" && grep -v restrict "$scratch/two.sql" > "$scratch/2" && cmp "$scratch/1" "$scratch/2" && q -c 'SELECT count(*), sum(n) FROM dumped.v' -c 'SHOW search_path'; }
dump_custom_and_restore_in_parallel() { pg_dump -Fc -n dumped -f "$scratch/c" && q -c 'DROP SCHEMA dumped CASCADE' && pg_restore -d "$PGDATABASE" -j 3 "$scratch/c" && q -c 'SELECT count(*), sum(n) FROM dumped.v'; }
dump_in_parallel_from_one_snapshot() { pg_dump -Fd -j 3 -n dumped -f "$scratch/dir" && ls "$scratch/dir" | wc -l; }
dump_piped_into_restore() { q -c 'DROP SCHEMA IF EXISTS piped CASCADE' 2>/dev/null; pg_dump -n dumped --no-owner | sed 's/dumped/piped/g' | psql -X -q -v ON_ERROR_STOP=1 >/dev/null && q -c 'SELECT count(*) FROM piped.v'; }
vacuumdb_and_reindexdb() { vacuumdb -q -z -t dumped.a && reindexdb -q -t dumped.a && clusterdb -q -t dumped.a; echo $?; }
pgbench_initialises() { pgbench -i -q -s 1 2>&1 | grep -c 'done in'; q -c 'SELECT count(*) FROM pgbench_accounts'; }
bench() { pgbench -n -c 4 -j 2 -t 50 "$@" 2>&1 | grep -E 'processed|failed transactions|ERROR|error' ; }
pgbench_simple() { bench -M simple -S; }
pgbench_extended() { bench -M extended -S; }
pgbench_prepared() { bench -M prepared -S; }
pgbench_tpcb_simple() { bench -M simple; }
pgbench_tpcb_extended() { bench -M extended; }
pgbench_tpcb_prepared() { bench -M prepared; }
pgbench_connects_each_time() { bench -S -C; }
pgbench_pipelines() { printf '\\startpipeline\nSELECT 1;\nSELECT 2;\nSELECT 3;\n\\endpipeline\n' > "$scratch/p"; bench -M extended -f "$scratch/p"; bench -M prepared -f "$scratch/p"; }

items=$(declare -F | awk '{print $3}' | grep -E '^(psql|pg_isready|dump|vacuumdb|pgbench)_')
# In the order of this file: later items use what earlier ones made.
items=$(grep -oE '^[a-z_]+\(\) ' "$0" | tr -d '() ' | grep -Fx "$items")
if [ "$1" = --list ]; then echo "$items"; exit; fi
for name in ${@:-$items}; do
    printf 'run\t%s\n' "$name"
    seen=$($name 2>&1); status=$?
    seen=$(printf '%s' "$seen" | tr '\t\n' '  ')
    if [ $status = 0 ]; then printf 'ok\t%s\t%s\n' "$name" "$seen"; else printf 'fail\t%s\t%s\n' "$name" "$seen"; fi
done
