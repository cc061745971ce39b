"""Why a test that passes directly may not pass through pgweir: a part of its name, and the reason.

A line here is a statement about the test or about what a proxy can be, not a licence to break.
"""

# In transaction mode the process id that a client gets at log-in is pgweir's, by which it takes
# cancel requests and signals; pg_backend_pid() tells the server's.
PID = "compares the process id of its log-in with `pg_backend_pid()`, which tells the server's; " \
    "`pool.mode = \"session\"` hands that out"

# Seen directly, too, when the machine is busy: the test is a race.
RACE = "a race that is lost directly, too, on a busy machine"

EXCEPTIONS = {
    "asyncpg: tests.test_execute.TestExecuteMany::test_executemany_server_failure_during_writes":
        f"whether the error comes back before 4 MB are written: {RACE}",
    "psycopg2: tests.test_connection.TestConnectionInfo::test_backend_pid": PID,
    "_connection::test_broken_pipe_read": f"whether the end of the connection is met by the write or by the read: {RACE}",
    "psycopg 3: a_rolled_back_set_is_undone": "directly, a placeholder set in a transaction that is rolled back stays "
    "known, and empty, to that one server process",
}
