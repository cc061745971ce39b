"""psycopg 3."""

import threading
import time

import psycopg
from items import item, main
from psycopg import sql
from psycopg.rows import dict_row


def connect(**more):
    return psycopg.connect(autocommit=True, **more)


@item
def connects_and_reads():
    with connect() as conn:
        return conn.execute("SELECT 1 + 1, current_user, current_database()").fetchone()


@item
def parameter_status_is_the_servers():
    with connect() as conn:
        names = ["server_version", "server_encoding", "client_encoding", "DateStyle", "TimeZone", "integer_datetimes",
                 "standard_conforming_strings", "is_superuser", "session_authorization", "IntervalStyle",
                 "in_hot_standby", "default_transaction_read_only", "application_name"]
        return [conn.info.parameter_status(name) for name in names]


@item
def start_up_options_are_obeyed():
    with connect(options="-c statement_timeout=12345 -c search_path=pg_catalog,public", application_name="a b") as conn:
        return conn.execute("SELECT current_setting('statement_timeout'), current_setting('search_path'),"
                            " current_setting('application_name')").fetchone()


@item
def prepared_reads():
    with connect() as conn:
        rows = [conn.execute("SELECT %s::int * 2", (n,), prepare=True).fetchone()[0] for n in range(30)]
        return rows, conn.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()[0] >= 0


@item
def automatic_preparation_after_five():
    with connect() as conn:
        for n in range(12):
            assert conn.execute("SELECT %s::int + 1", (n,)).fetchone() == (n + 1,)


@item
def binary_results_and_parameters():
    with connect() as conn:
        cursor = conn.cursor(binary=True)
        return cursor.execute("SELECT %b::int, %b::text, %b::float8, '{1,2}'::int[], now() > '2000-01-01'",
                              (7, "ü", 1.5)).fetchone()


@item
def write_in_a_transaction_is_seen_at_once():
    with connect() as conn:
        conn.execute("DROP TABLE IF EXISTS p3_write")
        conn.execute("CREATE TABLE p3_write (id serial PRIMARY KEY, body text)")
        with conn.transaction():
            conn.execute("INSERT INTO p3_write (body) VALUES ('x')")
        for _ in range(20):
            conn.execute("INSERT INTO p3_write (body) VALUES ('y')")
            n = conn.execute("SELECT count(*) FROM p3_write").fetchone()[0]
        return n


@item
def another_connection_sees_the_write():
    with connect() as one, connect() as two:
        one.execute("DROP TABLE IF EXISTS p3_seen")
        one.execute("CREATE TABLE p3_seen (n int)")
        seen = []
        for n in range(30):
            one.execute("INSERT INTO p3_seen VALUES (%s)", (n,))
            seen.append(two.execute("SELECT max(n) FROM p3_seen").fetchone()[0])
        assert seen == list(range(30)), seen


@item
def rollback_undoes():
    with connect() as conn:
        conn.execute("DROP TABLE IF EXISTS p3_rollback")
        conn.execute("CREATE TABLE p3_rollback (n int)")
        with conn.transaction(force_rollback=True):
            conn.execute("INSERT INTO p3_rollback VALUES (1)")
        return conn.execute("SELECT count(*) FROM p3_rollback").fetchone()


@item
def savepoints_nest():
    with connect() as conn:
        conn.execute("DROP TABLE IF EXISTS p3_savepoint")
        conn.execute("CREATE TABLE p3_savepoint (n int PRIMARY KEY)")
        with conn.transaction():
            conn.execute("INSERT INTO p3_savepoint VALUES (1)")
            try:
                with conn.transaction():
                    conn.execute("INSERT INTO p3_savepoint VALUES (1)")
            except psycopg.errors.UniqueViolation:
                pass
            conn.execute("INSERT INTO p3_savepoint VALUES (2)")
        return conn.execute("SELECT array_agg(n ORDER BY n) FROM p3_savepoint").fetchone()


@item
def errors_carry_every_field():
    with connect() as conn:
        found = []
        for text in ["SELECT 1/0", "SELEC 1", "SELECT * FROM nowhere", "SELECT nofunction()", "SELECT 'x'::int"]:
            try:
                conn.execute(text)
            except psycopg.Error as error:
                found.append((error.sqlstate, error.diag.message_primary, error.diag.statement_position,
                              error.diag.severity))
        conn.execute("DROP TABLE IF EXISTS p3_error")
        conn.execute("CREATE TABLE p3_error (n int CONSTRAINT positive CHECK (n > 0))")
        try:
            conn.execute("INSERT INTO p3_error VALUES (-1)")
        except psycopg.Error as error:
            found.append((error.sqlstate, error.diag.constraint_name, error.diag.table_name, error.diag.message_detail))
        return found


@item
def a_failed_transaction_refuses_until_rollback():
    with connect() as conn:
        conn.execute("BEGIN")
        states = []
        for text in ["SELECT 1/0", "SELECT 1"]:
            try:
                conn.execute(text)
            except psycopg.Error as error:
                states.append(error.sqlstate)
        states.append(conn.info.transaction_status.name)
        conn.execute("ROLLBACK")
        states.append(conn.info.transaction_status.name)
        return states


@item
def begin_inside_a_transaction_warns():
    with connect() as conn:
        notices = []
        conn.add_notice_handler(lambda diag: notices.append((diag.sqlstate, diag.message_primary)))
        conn.execute("BEGIN")
        conn.execute("BEGIN")
        conn.execute("COMMIT")
        conn.execute("COMMIT")
        return notices


@item
def begin_alone_shows_its_status():
    with connect() as conn:
        states = []
        for text in ["BEGIN", "COMMIT", "START TRANSACTION", "ROLLBACK"]:
            cursor = conn.execute(text)
            states.append((cursor.statusmessage, conn.info.transaction_status.name))
        return states


@item
def notices_arrive():
    with connect() as conn:
        notices = []
        conn.add_notice_handler(lambda diag: notices.append((diag.severity, diag.message_primary)))
        conn.execute("DO $$ BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two'; END $$")
        conn.execute("DROP TABLE IF EXISTS p3_never_there")
        return notices


@item
def listen_and_notify():
    with connect() as listener, connect() as speaker:
        listener.execute("LISTEN p3_channel")
        speaker.execute("NOTIFY p3_channel, 'hello'")
        speaker.execute("SELECT pg_notify('p3_channel', 'again')")
        found = []
        for note in listener.notifies(timeout=10, stop_after=2):
            found.append((note.channel, note.payload))
        return found


@item
def listening_to_oneself():
    with connect() as conn:
        conn.execute("LISTEN p3_self")
        conn.execute("NOTIFY p3_self, 'me'")
        found = [note.payload for note in conn.notifies(timeout=10, stop_after=1)]
        conn.execute("UNLISTEN *")
        return found


@item
def copy_in_and_out_as_text():
    with connect() as conn:
        conn.execute("DROP TABLE IF EXISTS p3_copy")
        conn.execute("CREATE TABLE p3_copy (a int, b text)")
        with conn.cursor() as cursor:
            with cursor.copy("COPY p3_copy FROM STDIN") as copy:
                for n in range(5000):
                    copy.write_row((n, "ü" * (n % 50)))
            with cursor.copy("COPY (SELECT * FROM p3_copy ORDER BY a) TO STDOUT") as copy:
                rows = list(copy.rows())
        return len(rows), rows[-1]


@item
def copy_in_binary_and_out_as_csv():
    with connect() as conn:
        conn.execute("DROP TABLE IF EXISTS p3_copyb")
        conn.execute("CREATE TABLE p3_copyb (a int4, b text)")
        with conn.cursor() as cursor:
            with cursor.copy("COPY p3_copyb FROM STDIN (FORMAT binary)") as copy:
                copy.set_types(["int4", "text"])
                for n in range(100):
                    copy.write_row((n, f"x{n}"))
            with cursor.copy("COPY p3_copyb TO STDOUT (FORMAT csv, HEADER)") as copy:
                return len(b"".join(copy))


@item
def copy_in_aborted_by_the_client():
    with connect() as conn:
        conn.execute("DROP TABLE IF EXISTS p3_copya")
        conn.execute("CREATE TABLE p3_copya (a int)")
        try:
            with conn.cursor().copy("COPY p3_copya FROM STDIN") as copy:
                copy.write_row((1,))
                raise RuntimeError("changed my mind")
        except RuntimeError:
            pass
        return conn.execute("SELECT count(*) FROM p3_copya").fetchone()


@item
def copy_in_failing_on_the_server():
    with connect() as conn:
        conn.execute("DROP TABLE IF EXISTS p3_copyf")
        conn.execute("CREATE TABLE p3_copyf (a int)")
        try:
            with conn.cursor().copy("COPY p3_copyf FROM STDIN") as copy:
                for n in range(20000):
                    copy.write(f"{n}\n" if n != 500 else "no number\n")
        except psycopg.Error as error:
            return error.sqlstate, conn.execute("SELECT count(*) FROM p3_copyf").fetchone()


@item
def temporary_tables_stay():
    with connect() as conn:
        conn.execute("CREATE TEMP TABLE p3_temp (n int)")
        for n in range(10):
            conn.execute("INSERT INTO p3_temp VALUES (%s)", (n,))
        total = conn.execute("SELECT sum(n) FROM p3_temp").fetchone()
        conn.execute("DROP TABLE p3_temp")
        return total


@item
def a_temporary_table_is_gone_with_its_session():
    with connect() as conn:
        conn.execute("CREATE TEMP TABLE p3_gone (n int)")
    with connect() as conn:
        return conn.execute("SELECT to_regclass('pg_temp.p3_gone')").fetchone()


@item
def advisory_locks_are_the_sessions():
    with connect() as one, connect() as two:
        one.execute("SELECT pg_advisory_lock(4711)")
        tries = [two.execute("SELECT pg_try_advisory_lock(4711)").fetchone()[0]]
        unlocked = one.execute("SELECT pg_advisory_unlock(4711)").fetchone()[0]
        tries.append(two.execute("SELECT pg_try_advisory_lock(4711)").fetchone()[0])
        two.execute("SELECT pg_advisory_unlock_all()")
        return tries, unlocked


@item
def with_hold_cursors_outlive_their_transaction():
    with connect() as conn:
        conn.execute("BEGIN")
        conn.execute("DECLARE p3_hold CURSOR WITH HOLD FOR SELECT * FROM generate_series(1, 10)")
        conn.execute("COMMIT")
        rows = conn.execute("FETCH 3 FROM p3_hold").fetchall() + conn.execute("FETCH 2 FROM p3_hold").fetchall()
        conn.execute("CLOSE p3_hold")
        return rows


@item
def server_side_cursors():
    with connect() as conn, conn.transaction():
        with conn.cursor(name="p3_cursor") as cursor:
            cursor.itersize = 7
            cursor.execute("SELECT * FROM generate_series(1, 100)")
            return sum(row[0] for row in cursor)


@item
def scrollable_cursors():
    with connect() as conn, conn.transaction():
        with conn.cursor(name="p3_scroll", scrollable=True) as cursor:
            cursor.execute("SELECT * FROM generate_series(1, 100)")
            cursor.scroll(50)
            first = cursor.fetchone()
            cursor.scroll(10, mode="absolute")
            return first, cursor.fetchone()


@item
def session_settings_stay():
    with connect() as conn:
        conn.execute("SET work_mem = '7MB'")
        conn.execute("SET TIME ZONE 'Asia/Tokyo'")
        conn.execute("SET search_path = pg_catalog")
        values = [conn.execute(f"SHOW {name}").fetchone()[0] for name in ("work_mem", "TimeZone", "search_path")]
        values.append(conn.info.parameter_status("TimeZone"))
        conn.execute("RESET ALL")
        values += [conn.execute(f"SHOW {name}").fetchone()[0] for name in ("work_mem", "search_path")]
        return values


@item
def settings_do_not_leak():
    with connect() as one:
        one.execute("SET work_mem = '9MB'")
        one.execute("SET search_path = ''")
        others = []
        for _ in range(10):
            with connect() as other:
                others.append(other.execute("SELECT current_setting('work_mem'), current_setting('search_path')")
                              .fetchone())
        return set(others), one.execute("SHOW work_mem").fetchone()


@item
def set_local_ends_with_its_transaction():
    with connect() as conn:
        with conn.transaction():
            conn.execute("SET LOCAL work_mem = '5MB'")
            inside = conn.execute("SHOW work_mem").fetchone()
        return inside, conn.execute("SHOW work_mem").fetchone()


@item
def a_rolled_back_set_is_undone():
    with connect() as conn:
        conn.execute("BEGIN")
        conn.execute("SET work_mem = '6MB'")
        conn.execute("SELECT set_config('myapp.tenant', '42', false)")
        conn.execute("ROLLBACK")
        return conn.execute("SELECT current_setting('work_mem'), current_setting('myapp.tenant', true)").fetchone()


@item
def set_config_follows_the_session():
    with connect() as conn:
        conn.execute("SELECT set_config('myapp.user', %s, false)", ("anna",))
        return [conn.execute("SELECT current_setting('myapp.user')").fetchone()[0] for _ in range(5)]


@item
def sequences_know_their_session():
    with connect() as conn:
        conn.execute("DROP SEQUENCE IF EXISTS p3_seq")
        conn.execute("CREATE SEQUENCE p3_seq")
        conn.execute("SELECT nextval('p3_seq')")
        return conn.execute("SELECT currval('p3_seq')").fetchone(), conn.execute("SELECT lastval()").fetchone()


@item
def sql_level_prepare_and_execute():
    with connect() as conn:
        conn.execute("PREPARE p3_plan (int) AS SELECT $1 * 3")
        rows = [conn.execute(f"EXECUTE p3_plan({n})").fetchone()[0] for n in range(5)]
        conn.execute("DEALLOCATE p3_plan")
        try:
            conn.execute("EXECUTE p3_plan(1)")
        except psycopg.Error as error:
            return rows, error.sqlstate


@item
def deallocate_all_and_go_on():
    with connect() as conn:
        for _ in range(3):
            assert conn.execute("SELECT %s::int", (1,), prepare=True).fetchone() == (1,)
        conn.execute("DEALLOCATE ALL")
        return conn.execute("SELECT %s::text", ("x",), prepare=True).fetchone()


@item
def discard_all_resets():
    with connect() as conn:
        conn.execute("SET work_mem = '7MB'")
        conn.execute("CREATE TEMP TABLE p3_discard (n int)")
        conn.execute("DISCARD ALL")
        return conn.execute("SELECT current_setting('work_mem'), to_regclass('p3_discard')").fetchone()


@item
def cancel_reaches_the_statement():
    with connect() as conn:
        threading.Timer(0.5, conn.cancel).start()
        start = time.monotonic()
        try:
            conn.execute("SELECT pg_sleep(30)")
        except psycopg.errors.QueryCanceled as error:
            assert time.monotonic() - start < 15
            return error.sqlstate, conn.execute("SELECT 1").fetchone()


@item
def pipelines():
    with connect() as conn:
        with conn.pipeline():
            cursors = [conn.execute("SELECT %s::int", (n,)) for n in range(300)]
        return sum(cursor.fetchone()[0] for cursor in cursors)


@item
def a_pipeline_with_an_error_in_the_middle():
    with connect() as conn:
        states = []
        try:
            with conn.pipeline() as pipe:
                one = conn.execute("SELECT 1")
                conn.execute("SELECT 1/0")
                conn.execute("SELECT 2")
                pipe.sync()
        except psycopg.Error as error:
            states.append(error.sqlstate)
        states.append(one.fetchone())
        states.append(conn.execute("SELECT 3").fetchone())
        return states


@item
def a_pipeline_with_a_write():
    with connect() as conn:
        conn.execute("DROP TABLE IF EXISTS p3_pipe")
        conn.execute("CREATE TABLE p3_pipe (n int)")
        with conn.pipeline():
            for n in range(50):
                conn.execute("INSERT INTO p3_pipe VALUES (%s)", (n,))
            total = conn.execute("SELECT count(*) FROM p3_pipe")
        return total.fetchone()


@item
def a_pipeline_of_big_values():
    with connect() as conn:
        conn.execute("DROP TABLE IF EXISTS p3_big")
        conn.execute("CREATE TABLE p3_big (t text)")
        with conn.pipeline():
            for n in range(100):
                conn.execute("INSERT INTO p3_big VALUES (%s)", (str(n % 10) * 40000,))
            total = conn.execute("SELECT sum(length(t)) FROM p3_big")
        return total.fetchone()


@item
def executemany():
    with connect() as conn:
        conn.execute("DROP TABLE IF EXISTS p3_many")
        conn.execute("CREATE TABLE p3_many (n int)")
        cursor = conn.cursor()
        cursor.executemany("INSERT INTO p3_many VALUES (%s) RETURNING n", [(n,) for n in range(200)], returning=True)
        found = 0
        while True:
            found += len(cursor.fetchall())
            if not cursor.nextset():
                return found


@item
def many_statements_in_one_string():
    with connect() as conn:
        cursor = conn.execute("SELECT 1; SELECT 2 AS b, 3; SELECT 'x'")
        found = [cursor.fetchall()]
        while cursor.nextset():
            found.append(cursor.fetchall())
        return found


@item
def many_statements_with_a_transaction_inside():
    with connect() as conn:
        conn.execute("DROP TABLE IF EXISTS p3_multi")
        conn.execute("CREATE TABLE p3_multi (n int)")
        conn.execute("INSERT INTO p3_multi VALUES (1); COMMIT; BEGIN; INSERT INTO p3_multi VALUES (2)")
        state = conn.info.transaction_status.name
        conn.execute("ROLLBACK")
        return state, conn.execute("SELECT count(*) FROM p3_multi").fetchone()


@item
def isolation_levels():
    found = []
    for level in (1, 2, 3, 4):
        with psycopg.connect() as conn:
            conn.isolation_level = psycopg.IsolationLevel(level)
            found.append(conn.execute("SHOW transaction_isolation").fetchone()[0])
    return found


@item
def read_only_transactions_refuse_writes():
    with psycopg.connect() as conn:
        conn.read_only = True
        found = [conn.execute("SHOW transaction_read_only").fetchone()[0]]
        try:
            conn.execute("CREATE TABLE p3_readonly (n int)")
        except psycopg.Error as error:
            found.append((error.sqlstate, error.diag.message_primary))
        return found


@item
def deferrable_read_only_serializable():
    with psycopg.connect() as conn:
        conn.read_only = True
        conn.deferrable = True
        conn.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        return conn.execute("SELECT current_setting('transaction_deferrable'), 1").fetchone()


@item
def session_wide_read_only():
    with connect() as conn:
        conn.execute("SET default_transaction_read_only = on")
        try:
            conn.execute("CREATE TABLE p3_ro (n int)")
        except psycopg.Error as error:
            state = error.sqlstate
        conn.execute("SET default_transaction_read_only = off")
        return state, conn.execute("SHOW transaction_read_only").fetchone()


@item
def it_looks_like_a_primary():
    with connect(target_session_attrs="read-write") as conn:
        return conn.execute("SELECT pg_is_in_recovery(), current_setting('transaction_read_only')").fetchone()


@item
def target_session_attrs_primary():
    with connect(target_session_attrs="primary") as conn:
        return conn.info.parameter_status("in_hot_standby")


@item
def large_objects():
    with psycopg.connect() as conn:
        oid = conn.execute("SELECT lo_from_bytea(0, 'hello'::bytea)").fetchone()[0]
        value = conn.execute("SELECT lo_get(%s)", (oid,)).fetchone()[0]
        conn.execute("SELECT lo_unlink(%s)", (oid,))
        return value


@item
def two_phase_commit():
    with psycopg.connect() as conn:
        conn.execute("DROP TABLE IF EXISTS p3_two")
        conn.execute("CREATE TABLE p3_two (n int)")
        conn.commit()
        xid = conn.xid(1, "p3gtrid", "branch")
        conn.tpc_begin(xid)
        conn.execute("INSERT INTO p3_two VALUES (1)")
        conn.tpc_prepare()
        conn.tpc_commit()
        return conn.execute("SELECT count(*) FROM p3_two").fetchone()


@item
def select_for_update_locks():
    with connect() as one, connect() as two:
        one.execute("DROP TABLE IF EXISTS p3_lock")
        one.execute("CREATE TABLE p3_lock (n int)")
        one.execute("INSERT INTO p3_lock VALUES (1)")
        with one.transaction():
            one.execute("SELECT * FROM p3_lock FOR UPDATE")
            try:
                two.execute("SELECT * FROM p3_lock FOR UPDATE NOWAIT")
            except psycopg.Error as error:
                return error.sqlstate


@item
def writing_ctes_and_functions():
    with connect() as conn:
        conn.execute("DROP TABLE IF EXISTS p3_cte")
        conn.execute("CREATE TABLE p3_cte (n int)")
        conn.execute("CREATE OR REPLACE FUNCTION p3_writes(v int) RETURNS int LANGUAGE sql AS "
                     "'INSERT INTO p3_cte VALUES (v) RETURNING n'")
        conn.execute("WITH a AS (INSERT INTO p3_cte VALUES (1) RETURNING n) SELECT * FROM a")
        conn.execute("SELECT p3_writes(2)")
        conn.execute("SELECT n INTO p3_into_x FROM p3_cte")
        n = conn.execute("SELECT count(*) FROM p3_into_x").fetchone()
        conn.execute("DROP TABLE p3_into_x")
        return conn.execute("SELECT sum(n) FROM p3_cte").fetchone(), n


@item
def set_role_and_back():
    with connect() as conn:
        conn.execute("SET ROLE app")
        found = [conn.execute("SELECT current_user").fetchone()[0] for _ in range(3)]
        conn.execute("RESET ROLE")
        return found, conn.execute("SELECT current_user").fetchone()


@item
def changing_a_table_under_a_prepared_statement():
    with connect() as conn:
        conn.execute("DROP TABLE IF EXISTS p3_change")
        conn.execute("CREATE TABLE p3_change (a int)")
        conn.execute("INSERT INTO p3_change VALUES (1)")
        for _ in range(6):
            conn.execute("SELECT a FROM p3_change WHERE a = %s", (1,), prepare=True).fetchone()
        conn.execute("ALTER TABLE p3_change ADD b int")
        return conn.execute("SELECT a FROM p3_change WHERE a = %s", (1,), prepare=True).fetchone()


@item
def a_wide_result():
    with connect() as conn:
        rows = conn.execute("SELECT n, repeat('x', 1000) FROM generate_series(1, 20000) AS n").fetchall()
        return len(rows), rows[-1][0]


@item
def one_big_value():
    with connect() as conn:
        text = "y" * (20 << 20)
        return conn.execute("SELECT length(%s::text)", (text,)).fetchone()


@item
def streaming_a_result():
    with connect() as conn:
        return sum(1 for _ in conn.cursor().stream("SELECT * FROM generate_series(1, 5000)"))


@item
def empty_query():
    with connect() as conn:
        return conn.execute("").statusmessage, conn.execute(" -- nothing\n").statusmessage


@item
def many_connections_at_once():
    connections = [connect() for _ in range(60)]
    values = [conn.execute("SELECT %s::int", (n,)).fetchone()[0] for n, conn in enumerate(connections)]
    for conn in connections:
        conn.close()
    return sum(values)


@item
def wrong_password_is_refused_alike():
    try:
        connect(password="nonsense")
    except psycopg.OperationalError as error:
        return error.sqlstate, "password authentication failed" in str(error)


@item
def unknown_database_is_refused_alike():
    try:
        connect(dbname="nowhere_at_all")
    except psycopg.OperationalError as error:
        return error.sqlstate, 'database "nowhere_at_all" does not exist' in str(error)


@item
def bad_start_up_option_is_refused_alike():
    try:
        connect(options="-c no_such_setting_at_all=1")
    except psycopg.OperationalError as error:
        return "no_such_setting_at_all" in str(error)


@item
def client_encoding_latin1():
    with connect(client_encoding="latin1") as conn:
        return conn.execute("SELECT 'é', %s::text", ("é",)).fetchone(), conn.info.encoding


@item
def async_connection():
    import asyncio

    async def run():
        async with await psycopg.AsyncConnection.connect(autocommit=True) as conn:
            cursor = await conn.execute("SELECT %s::int", (5,))
            return await cursor.fetchone()

    return asyncio.run(run())


@item
def rows_as_dicts_and_composed_sql():
    with connect(row_factory=dict_row) as conn:
        return conn.execute(sql.SQL("SELECT {} AS a, oid::regclass::text AS b FROM pg_class WHERE relname = {}").format(
            sql.Literal("it's"), sql.Literal("pg_class"))).fetchone()


main()
