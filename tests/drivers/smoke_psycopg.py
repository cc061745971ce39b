"""psycopg 3: a prepared read, a write in a transaction, a cancel. Connection from PG* variables."""

import os
import threading
import time

import psycopg

mark = os.environ["MARK"]
with psycopg.connect(autocommit=True) as conn:
    for n in range(1, 21):
        row = conn.execute(
            f"/* read {mark} */ SELECT name FROM product WHERE id = %s", (n,), prepare=True
        ).fetchone()
        assert row == (f"product {n}",), row
    with conn.transaction():
        cursor = conn.execute(
            f"/* write {mark} */ INSERT INTO note (body) VALUES (%s) RETURNING id", (mark,)
        )
        (note,) = cursor.fetchone()
    count = conn.execute("SELECT count(*) FROM note WHERE id = %s", (note,)).fetchone()
    assert count == (1,), count

    with conn.pipeline():
        cursors = [conn.execute("SELECT %s::int", (n,)) for n in range(50)]
    assert [c.fetchone()[0] for c in cursors] == list(range(50))

    with conn.cursor().copy("COPY (SELECT id FROM product ORDER BY id) TO STDOUT") as copy:
        assert [row[0] for row in copy.rows()] == [str(n) for n in range(1, 101)]

    with conn.transaction(), conn.cursor(name="server_side") as cursor:
        cursor.execute("SELECT id FROM product ORDER BY id")
        assert [row[0] for row in cursor] == list(range(1, 101))

    threading.Timer(0.5, conn.cancel).start()
    start = time.monotonic()
    try:
        conn.execute("SELECT pg_sleep(60)")
    except psycopg.errors.QueryCanceled:
        assert time.monotonic() - start < 20
    else:
        raise SystemExit("the cancel did not get through")
    assert conn.execute("SELECT 1").fetchone() == (1,)
    conn.execute("DELETE FROM note WHERE id = %s", (note,))
print("ok")
