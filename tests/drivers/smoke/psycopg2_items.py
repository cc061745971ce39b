"""psycopg2, the libpq driver of the older Django and of most scripts: simple protocol only."""

import io
import select
import threading

import psycopg2
import psycopg2.extensions
import psycopg2.extras
from items import item, login, main


def connect(**more):
    details = login()
    details["dbname"] = details.pop("database")
    conn = psycopg2.connect(**{**details, **more})
    conn.autocommit = True
    return conn


def query(conn, text, values=None):
    with conn.cursor() as cursor:
        cursor.execute(text, values)
        return cursor.fetchall() if cursor.description else cursor.statusmessage


@item
def reads_with_literals_in_the_text():
    conn = connect()
    return [query(conn, "SELECT %s, %s::text", (n, "it's"))[0] for n in range(20)][-1]


@item
def transaction_and_rollback():
    conn = connect()
    query(conn, "DROP TABLE IF EXISTS p2_tx")
    query(conn, "CREATE TABLE p2_tx (n int)")
    conn.autocommit = False
    query(conn, "INSERT INTO p2_tx VALUES (1)")
    inside = query(conn, "SELECT count(*) FROM p2_tx")
    conn.rollback()
    query(conn, "INSERT INTO p2_tx VALUES (2)")
    conn.commit()
    return inside, query(conn, "SELECT array_agg(n) FROM p2_tx")


@item
def errors_have_their_sqlstate():
    conn = connect()
    try:
        query(conn, "SELECT * FROM nowhere")
    except psycopg2.Error as error:
        return error.pgcode, error.diag.message_primary


@item
def named_cursors():
    conn = connect()
    conn.autocommit = False
    with conn.cursor("p2_named") as cursor:
        cursor.itersize = 10
        cursor.execute("SELECT * FROM generate_series(1, 95)")
        return sum(row[0] for row in cursor)


@item
def named_cursors_with_hold():
    conn = connect()
    conn.autocommit = False
    cursor = conn.cursor("p2_hold", withhold=True)
    cursor.execute("SELECT * FROM generate_series(1, 20)")
    first = cursor.fetchmany(5)
    conn.commit()
    second = cursor.fetchmany(5)
    cursor.close()
    conn.commit()
    return len(first), second[-1]


@item
def copy_expert_both_ways():
    conn = connect()
    query(conn, "DROP TABLE IF EXISTS p2_copy")
    query(conn, "CREATE TABLE p2_copy (n int, t text)")
    with conn.cursor() as cursor:
        cursor.copy_expert("COPY p2_copy FROM STDIN WITH CSV", io.StringIO("".join(f"{n},x{n}\n" for n in range(3000))))
        out = io.StringIO()
        cursor.copy_expert("COPY p2_copy TO STDOUT", out)
    return len(out.getvalue())


@item
def listen_by_poll():
    one, two = connect(), connect()
    query(one, "LISTEN p2_channel")
    query(two, "NOTIFY p2_channel, 'x'")
    select.select([one], [], [], 10)
    one.poll()
    return [(note.channel, note.payload) for note in one.notifies]


@item
def large_object_by_fast_path_functions():
    conn = connect()
    conn.autocommit = False
    large = conn.lobject(0, "wb")
    oid = large.oid
    large.write(b"hello large world")
    large.close()
    conn.commit()
    large = conn.lobject(oid, "rb")
    large.seek(6)
    value = large.read()
    large.close()
    conn.lobject(oid).unlink()
    conn.commit()
    return value


@item
def isolation_level_and_read_only_session():
    conn = connect()
    conn.autocommit = False
    conn.set_session(isolation_level="SERIALIZABLE", readonly=True, deferrable=True)
    found = query(conn, "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')")
    conn.rollback()
    return found


@item
def autocommit_read_only_session():
    conn = connect()
    conn.set_session(readonly=True)
    found = query(conn, "SHOW transaction_read_only")
    try:
        query(conn, "CREATE TABLE p2_ro (n int)")
    except psycopg2.Error as error:
        return found, error.pgcode


@item
def cancel():
    conn = connect()
    threading.Timer(0.5, conn.cancel).start()
    try:
        query(conn, "SELECT pg_sleep(30)")
    except psycopg2.Error as error:
        return error.pgcode, query(conn, "SELECT 1")


@item
def asynchronous_connection():
    details = login()
    details["dbname"] = details.pop("database")
    conn = psycopg2.connect(async_=True, **details)
    psycopg2.extras.wait_select(conn)
    cursor = conn.cursor()
    cursor.execute("SELECT pg_sleep(0.1), 7")
    psycopg2.extras.wait_select(conn)
    return cursor.fetchone()[1]


@item
def execute_values():
    conn = connect()
    query(conn, "DROP TABLE IF EXISTS p2_values")
    query(conn, "CREATE TABLE p2_values (n int)")
    with conn.cursor() as cursor:
        psycopg2.extras.execute_values(cursor, "INSERT INTO p2_values VALUES %s", [(n,) for n in range(500)])
    return query(conn, "SELECT sum(n) FROM p2_values")


@item
def two_phase_commit():
    conn = connect()
    query(conn, "DROP TABLE IF EXISTS p2_two")
    query(conn, "CREATE TABLE p2_two (n int)")
    conn.autocommit = False
    conn.tpc_begin("p2-two")
    query(conn, "INSERT INTO p2_two VALUES (1)")
    conn.tpc_prepare()
    conn.tpc_rollback()
    return query(conn, "SELECT count(*) FROM p2_two")


@item
def reset_clears_the_session():
    conn = connect()
    query(conn, "SET work_mem = '9MB'")
    conn.reset()
    conn.autocommit = True
    return query(conn, "SHOW work_mem")


@item
def notices_are_collected():
    conn = connect()
    query(conn, "DO $$ BEGIN RAISE NOTICE 'hi'; END $$")
    return conn.notices


@item
def client_encoding_can_be_changed():
    conn = connect()
    conn.set_client_encoding("LATIN1")
    return conn.encoding, query(conn, "SELECT 'é'"), query(conn, "SHOW client_encoding")


@item
def a_closed_connection_gives_its_locks_back():
    one = connect()
    query(one, "SELECT pg_advisory_lock(815)")
    one.close()
    two = connect()
    for _ in range(50):
        if query(two, "SELECT pg_try_advisory_lock(815)")[0][0]:
            return "free"
        threading.Event().wait(0.1)
    return "taken"


main()
