"""asyncpg: a prepared read, a write in a transaction, a cancel. Connection from PG* variables."""

import asyncio
import os
import time

import asyncpg

mark = os.environ["MARK"]


async def main() -> None:
    conn = await asyncpg.connect(timeout=20)
    read = await conn.prepare(f"/* read {mark} */ SELECT name FROM product WHERE id = $1")
    for n in range(1, 21):
        assert await read.fetchval(n) == f"product {n}"
    async with conn.transaction():
        note = await conn.fetchval(
            f"/* write {mark} */ INSERT INTO note (body) VALUES ($1) RETURNING id", mark
        )
    assert await conn.fetchval("SELECT count(*) FROM note WHERE id = $1", note) == 1

    async with conn.transaction():
        rows = [row["id"] async for row in conn.cursor("SELECT id FROM product ORDER BY id")]
    assert rows == list(range(1, 101))

    await conn.executemany("UPDATE counter SET n = n WHERE id = $1", [(n,) for n in range(1, 21)])
    records = [(f"{mark} copied {n}",) for n in range(10)]
    await conn.copy_records_to_table("note", records=records, columns=["body"])

    start = time.monotonic()
    try:
        # On time-out asyncpg sends a CancelRequest.
        await conn.execute("SELECT pg_sleep(60)", timeout=0.5)
    except (asyncio.TimeoutError, TimeoutError, asyncpg.QueryCanceledError):
        assert time.monotonic() - start < 20
    else:
        raise SystemExit("the cancel did not get through")
    assert await conn.fetchval("SELECT 1") == 1
    deleted = await conn.execute("DELETE FROM note WHERE body LIKE $1", f"{mark}%")
    assert deleted == "DELETE 11", deleted
    await conn.close()


asyncio.run(main())
print("ok")
