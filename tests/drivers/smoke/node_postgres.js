// postgres.js: pipelines everything on few connections, prepares by default, asks for types.
const postgres = require("postgres");
const { item, main } = require("./items.js");

const options = (more) => ({
  host: process.env.PGHOST, port: +process.env.PGPORT, user: process.env.PGUSER, password: process.env.PGPASSWORD,
  database: process.env.PGDATABASE, onnotice: () => {}, ...more,
});
async function connected(work, more = {}) {
  const sql = postgres(options(more));
  try {
    return await work(sql);
  } finally {
    await sql.end({ timeout: 5 });
  }
}

item("reads", () => connected((sql) => sql`SELECT ${1}::int + 1 AS n, ${"é"} AS t`));
item("a_pipeline_of_many", () => connected(async (sql) => {
  const rows = await Promise.all(Array.from({ length: 500 }, (_, n) => sql`SELECT ${n}::int AS n`));
  return rows.reduce((sum, r) => sum + r[0].n, 0);
}, { max: 2 }));
item("a_pipeline_with_errors", () => connected(async (sql) => {
  const work = Array.from({ length: 30 }, (_, n) => sql`SELECT 10 / ${n % 5}::int AS n`.catch((e) => [{ n: e.code }]));
  return (await Promise.all(work)).map((r) => r[0].n);
}, { max: 1 }));
item("transactions", () => connected(async (sql) => {
  await sql`DROP TABLE IF EXISTS js_tx`;
  await sql`CREATE TABLE js_tx (n int)`;
  await sql.begin(async (t) => {
    await t`INSERT INTO js_tx VALUES (1)`;
    await t.savepoint(async (s) => { await s`INSERT INTO js_tx VALUES (2)`; throw new Error("back"); }).catch(() => {});
  });
  await sql.begin(async (t) => { await t`INSERT INTO js_tx VALUES (3)`; throw new Error("back"); }).catch(() => {});
  return sql`SELECT array_agg(n) AS a FROM js_tx`;
}));
item("read_only_transaction", () => connected((sql) => sql.begin("READ ONLY", (t) => t`SELECT current_setting('transaction_read_only') AS r`)));
item("cursors", () => connected(async (sql) => {
  let total = 0;
  for await (const rows of sql`SELECT * FROM generate_series(1, 1000) AS n`.cursor(30)) total += rows.reduce((sum, r) => sum + r.n, 0);
  return total;
}));
item("for_each", () => connected(async (sql) => {
  let total = 0;
  await sql`SELECT * FROM generate_series(1, 1000) AS n`.forEach((r) => { total += r.n; });
  return total;
}));
item("describe", () => connected(async (sql) => {
  const d = await sql`SELECT ${1}::int AS a, 'x'::text AS b`.describe();
  return [d.types, d.columns.map((c) => c.name)];
}));
item("listen", () => connected(async (sql) => {
  let hear;
  const heard = new Promise((resolve) => { hear = resolve; });
  const { unlisten } = await sql.listen("js_channel", hear);
  await sql.notify("js_channel", "hello");
  const payload = await heard;
  await unlisten();
  return payload;
}));
item("copy", () => connected(async (sql) => {
  await sql`DROP TABLE IF EXISTS js_copy`;
  await sql`CREATE TABLE js_copy (n int)`;
  const { Readable } = require("stream");
  const { pipeline } = require("stream/promises");
  await pipeline(Readable.from(["1\n2\n", "3\n"]), await sql`COPY js_copy FROM STDIN`.writable());
  let text = "";
  for await (const chunk of await sql`COPY js_copy TO STDOUT`.readable()) text += chunk;
  return text;
}));
item("cancel", () => connected(async (sql) => {
  const query = sql`SELECT pg_sleep(20)`.execute();
  setTimeout(() => query.cancel(), 500);
  try { await query; } catch (e) { return [e.code, await sql`SELECT 1 AS n`]; }
}));
item("simple_queries", () => connected((sql) => sql`SELECT 1 AS a; SELECT 2 AS b`.simple()));
item("unprepared", () => connected((sql) => sql`SELECT ${5}::int AS n`, { prepare: false }));
item("inserts_of_many_rows", () => connected(async (sql) => {
  await sql`DROP TABLE IF EXISTS js_many`;
  await sql`CREATE TABLE js_many (a int, b text)`;
  await sql`INSERT INTO js_many ${sql(Array.from({ length: 1000 }, (_, n) => ({ a: n, b: `x${n}` })))}`;
  return sql`SELECT count(*)::int, sum(a)::int FROM js_many`;
}));
item("reserved_connections", () => connected(async (sql) => {
  const one = await sql.reserve();
  await one`CREATE TEMP TABLE js_temp (n int)`;
  await one`INSERT INTO js_temp VALUES (1)`;
  const rows = await one`SELECT * FROM js_temp`;
  await one`DISCARD ALL`;
  one.release();
  return rows;
}));
item("target_session_attrs", () => connected((sql) => sql`SELECT pg_is_in_recovery() AS r`, { target_session_attrs: "primary" }));
item("session_parameters", () => connected((sql) => sql`SELECT current_setting('search_path') AS s, current_setting('application_name') AS a`, { connection: { search_path: "pg_catalog", application_name: "js" } }));
main();
