"""asyncpg: binary, Flush-driven, prepares everything."""

import asyncio
import io

import asyncpg
from items import item, login, main


async def connect(**more):
    return await asyncpg.connect(**{**login(), **more})


@item
async def fetches():
    conn = await connect()
    return await conn.fetchval("SELECT $1::int + $2::int", 2, 3), list(await conn.fetch("SELECT generate_series(1,3)"))


@item
async def many_statements_prepared():
    conn = await connect(statement_cache_size=50)
    return sum([await conn.fetchval(f"SELECT {n} + $1::int", n) for n in range(200)])


@item
async def a_transaction_with_a_savepoint():
    conn = await connect()
    await conn.execute("DROP TABLE IF EXISTS ap_tx; CREATE TABLE ap_tx (n int PRIMARY KEY)")
    async with conn.transaction():
        await conn.execute("INSERT INTO ap_tx VALUES ($1)", 1)
        try:
            async with conn.transaction():
                await conn.execute("INSERT INTO ap_tx VALUES ($1)", 1)
        except asyncpg.UniqueViolationError:
            pass
        await conn.execute("INSERT INTO ap_tx VALUES ($1)", 2)
    return await conn.fetchval("SELECT array_agg(n) FROM ap_tx")


@item
async def isolation_levels():
    conn = await connect()
    found = []
    for level in ("read_committed", "repeatable_read", "serializable"):
        async with conn.transaction(isolation=level, readonly=True):
            found.append((await conn.fetchval("SHOW transaction_isolation"),
                          await conn.fetchval("SHOW transaction_read_only")))
    return found


@item
async def a_cursor_in_parts():
    conn = await connect()
    async with conn.transaction():
        total = 0
        async for row in conn.cursor("SELECT * FROM generate_series(1, 500)", prefetch=17):
            total += row[0]
        cursor = await conn.cursor("SELECT * FROM generate_series(1, 100)")
        await cursor.forward(10)
        return total, list(await cursor.fetch(3))


@item
async def records_by_binary_copy():
    conn = await connect()
    await conn.execute("DROP TABLE IF EXISTS ap_copy; CREATE TABLE ap_copy (n int, t text)")
    await conn.copy_records_to_table("ap_copy", records=[(n, f"x{n}") for n in range(5000)])
    out = io.BytesIO()
    await conn.copy_from_query("SELECT * FROM ap_copy ORDER BY n", output=out, format="csv")
    return len(out.getvalue()), await conn.fetchval("SELECT count(*) FROM ap_copy")


@item
async def executemany():
    conn = await connect()
    await conn.execute("DROP TABLE IF EXISTS ap_many; CREATE TABLE ap_many (n int)")
    await conn.executemany("INSERT INTO ap_many VALUES ($1)", [(n,) for n in range(3000)])
    return await conn.fetchval("SELECT count(*) FROM ap_many")


@item
async def executemany_with_an_error_undoes_all():
    conn = await connect()
    await conn.execute("DROP TABLE IF EXISTS ap_bad; CREATE TABLE ap_bad (n int PRIMARY KEY)")
    try:
        await conn.executemany("INSERT INTO ap_bad VALUES ($1)", [(n % 700,) for n in range(1000)])
    except asyncpg.UniqueViolationError as error:
        return error.sqlstate, await conn.fetchval("SELECT count(*) FROM ap_bad")


@item
async def listeners():
    one, two = await connect(), await connect()
    heard = asyncio.Queue()
    await one.add_listener("ap_channel", lambda *a: heard.put_nowait((a[2], a[3])))
    await two.execute("NOTIFY ap_channel, 'hi'")
    found = await asyncio.wait_for(heard.get(), 10)
    await one.reset()
    return found


@item
async def a_statement_described_before_it_runs():
    conn = await connect()
    statement = await conn.prepare("SELECT $1::int AS a, $2::text AS b")
    return ([p.name for p in statement.get_parameters()], [a.name for a in statement.get_attributes()],
            tuple(await statement.fetchrow(1, "x")), statement.get_query())


@item
async def arrays_ranges_and_composites():
    conn = await connect()
    await conn.execute("DROP TABLE IF EXISTS ap_t; DROP TYPE IF EXISTS ap_c; CREATE TYPE ap_c AS (a int, b text)")
    return tuple(await conn.fetchrow("SELECT ARRAY[1,2], int4range(1,5), ROW(1,'x')::ap_c, '{\"a\":1}'::jsonb, $1::ap_c", (2, "y")))


@item
async def a_new_type_is_known_at_once():
    conn = await connect()
    for n in range(3):
        await conn.execute(f"DROP TYPE IF EXISTS ap_mood{n}; CREATE TYPE ap_mood{n} AS ENUM ('a', 'b')")
        await conn.reload_schema_state()
        assert await conn.fetchval(f"SELECT $1::ap_mood{n}", "b") == "b"


@item
async def a_time_out_cancels():
    conn = await connect()
    try:
        await conn.execute("SELECT pg_sleep(30)", timeout=0.5)
    except asyncio.TimeoutError:
        return await conn.fetchval("SELECT 1")


@item
async def settings_at_start():
    conn = await connect(server_settings={"search_path": "pg_catalog", "statement_timeout": "54321", "application_name": "ap"})
    return tuple(await conn.fetchrow("SELECT current_setting('search_path'), current_setting('statement_timeout'),"
                                     " current_setting('application_name')")), conn.get_settings().search_path \
        if hasattr(conn.get_settings(), "search_path") else None


@item
async def a_pool_resets_what_it_lends():
    pool = await asyncpg.create_pool(**login(), min_size=2, max_size=5)
    async with pool.acquire() as conn:
        await conn.execute("SET work_mem = '7MB'")
        await conn.execute("CREATE TEMP TABLE ap_temp (n int)")
        await conn.execute("INSERT INTO ap_temp VALUES (1)")
    values = await asyncio.gather(*(pool.fetchval("SHOW work_mem") for _ in range(40)))
    await pool.close()
    return set(values)


@item
async def a_busy_pool():
    pool = await asyncpg.create_pool(**login(), min_size=20, max_size=40)
    values = await asyncio.gather(*(pool.fetchval("SELECT $1::int", n) for n in range(2000)))
    await pool.close()
    return sum(values)


@item
async def a_changed_table_is_noticed():
    conn = await connect()
    await conn.execute("DROP TABLE IF EXISTS ap_change; CREATE TABLE ap_change (a int); INSERT INTO ap_change VALUES (1)")
    await conn.fetch("SELECT * FROM ap_change")
    await conn.execute("ALTER TABLE ap_change ADD b int DEFAULT 2")
    return [tuple(row) for row in await conn.fetch("SELECT * FROM ap_change")]


@item
async def log_listener_hears_notices():
    conn = await connect()
    heard = []
    conn.add_log_listener(lambda _, message: heard.append(message.message))
    await conn.execute("DO $$ BEGIN RAISE NOTICE 'n1'; RAISE WARNING 'w1'; END $$")
    await asyncio.sleep(0.1)
    return heard


@item
async def reads_follow_writes_everywhere():
    one, two = await connect(), await connect()
    await one.execute("DROP TABLE IF EXISTS ap_seen; CREATE TABLE ap_seen (n int)")
    for n in range(50):
        await one.execute("INSERT INTO ap_seen VALUES ($1)", n)
        assert await two.fetchval("SELECT max(n) FROM ap_seen") == n
        assert await one.fetchval("SELECT count(*) FROM ap_seen") == n + 1


@item
async def server_version_and_pid():
    conn = await connect()
    return conn.get_server_version()[:2], conn.get_server_pid() > 0


main(lambda function: asyncio.run(asyncio.wait_for(function(), 60)))
