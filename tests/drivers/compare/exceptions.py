"""Why a test that passes directly may not pass through pgweir: a part of its name, and the reason.

A line here is a statement about the test or about what a proxy can be, not a licence to break.
"""

# In transaction mode the process id that a client gets at log-in is pgweir's, by which it takes
# cancel requests; pg_backend_pid() and notifications tell the server's.
PID = "looks for the server's own process id, which changes from transaction to transaction; `pool.mode = \"session\"` hands it out"

EXCEPTIONS = {
    "psycopg2: tests.test_notify.": PID,
    "psycopg2: tests.test_async.AsyncTests::test_notify": PID,
    "psycopg2: tests.test_connection.TestConnectionInfo::test_backend_pid": PID,
    "psycopg2: tests.test_cursor.CursorTests::test_external_close": "ends the server by the process id of its client; " + PID,
    "asyncpg: tests.test_listeners.TestListeners::test_listen_": PID,
    "lib/pq: TestPing": "ends the server by its process id and expects its client to lose the connection; " + PID,
    "psycopg 3: a_rolled_back_set_is_undone": "directly, a placeholder set in a transaction that is rolled back stays "
    "known, and empty, to that one server process",
}
