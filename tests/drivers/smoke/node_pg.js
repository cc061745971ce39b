// node-postgres: pools, cursors, streams, COPY, LISTEN.
const { Client, Pool } = require("pg");
const Cursor = require("pg-cursor");
const QueryStream = require("pg-query-stream");
const copy = require("pg-copy-streams");
const { pipeline } = require("stream/promises");
const { Readable } = require("stream");
const { item, main } = require("./items.js");

async function connected(work, more = {}) {
  const client = new Client(more);
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

item("reads", () => connected(async (c) => (await c.query("SELECT $1::int + 1 AS n, 'é' AS t", [1])).rows));
item("named_statements", () => connected(async (c) => {
  let total = 0;
  for (let n = 0; n < 50; n++) total += (await c.query({ name: "twice", text: "SELECT $1::int * 2 AS n", values: [n] })).rows[0].n;
  return total;
}));
item("the_same_name_on_many_connections", async () => {
  const pool = new Pool({ max: 20 });
  const work = Array.from({ length: 300 }, (_, n) => pool.query({ name: "same", text: "SELECT $1::int AS n", values: [n] }));
  const total = (await Promise.all(work)).reduce((sum, r) => sum + r.rows[0].n, 0);
  await pool.end();
  return total;
});
item("transactions", () => connected(async (c) => {
  await c.query("DROP TABLE IF EXISTS np_tx; CREATE TABLE np_tx (n int)");
  await c.query("BEGIN");
  await c.query("INSERT INTO np_tx VALUES ($1)", [1]);
  await c.query("ROLLBACK");
  await c.query("BEGIN; INSERT INTO np_tx VALUES (2); COMMIT");
  return (await c.query("SELECT array_agg(n) AS a FROM np_tx")).rows;
}));
item("errors", () => connected(async (c) => {
  const found = [];
  for (const text of ["SELECT 1/0", "SELEC", "SELECT * FROM nowhere"]) {
    try { await c.query(text); } catch (e) { found.push([e.code, e.message, e.position, e.routine]); }
    try { await c.query(text, []); } catch (e) { found.push([e.code, e.message]); }
  }
  found.push((await c.query("SELECT 1 AS n")).rows);
  return found;
}));
item("cursors_in_parts", () => connected(async (c) => {
  const cursor = c.query(new Cursor("SELECT * FROM generate_series(1, 1000) AS n"));
  let total = 0;
  for (;;) {
    const rows = await cursor.read(33);
    if (!rows.length) break;
    total += rows.reduce((sum, r) => sum + r.n, 0);
  }
  await cursor.close();
  return total;
}));
item("a_cursor_closed_early", () => connected(async (c) => {
  const cursor = c.query(new Cursor("SELECT * FROM generate_series(1, 100000) AS n"));
  const rows = await cursor.read(10);
  await cursor.close();
  return [rows.length, (await c.query("SELECT 7 AS n")).rows];
}));
item("query_stream", () => connected(async (c) => {
  let total = 0;
  for await (const row of c.query(new QueryStream("SELECT * FROM generate_series(1, 5000) AS n", [], { batchSize: 100 }))) total += row.n;
  return total;
}));
item("copy_streams", () => connected(async (c) => {
  await c.query("DROP TABLE IF EXISTS np_copy; CREATE TABLE np_copy (n int, t text)");
  await pipeline(Readable.from((function* () { for (let n = 0; n < 5000; n++) yield `${n}\tx${n}\n`; })()), c.query(copy.from("COPY np_copy FROM STDIN")));
  let bytes = 0;
  for await (const chunk of c.query(copy.to("COPY np_copy TO STDOUT"))) bytes += chunk.length;
  return bytes;
}));
item("listen_notify", () => connected((one) => connected(async (two) => {
  const heard = new Promise((resolve) => one.on("notification", (m) => resolve([m.channel, m.payload])));
  await one.query("LISTEN np_channel");
  await two.query("SELECT pg_notify('np_channel', $1)", ["hello"]);
  return await heard;
})));
item("notices", () => connected(async (c) => {
  const heard = [];
  c.on("notice", (n) => heard.push([n.severity, n.message]));
  await c.query("DO $$ BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two'; END $$");
  return heard;
}));
item("many_statements_in_one_string", () => connected(async (c) => (await c.query("SELECT 1 AS a; SELECT 2 AS b; SELECT 3 AS c")).map((r) => r.rows)));
item("temporary_tables", () => connected(async (c) => {
  await c.query("CREATE TEMP TABLE np_temp (n int)");
  for (let n = 0; n < 10; n++) await c.query("INSERT INTO np_temp VALUES ($1)", [n]);
  return (await c.query("SELECT sum(n)::int AS n FROM np_temp")).rows;
}));
item("settings_at_start", () => connected(async (c) => (await c.query("SELECT current_setting('statement_timeout') AS a, current_setting('search_path') AS b, current_setting('application_name') AS c")).rows,
  { statement_timeout: 12345, options: "-c search_path=pg_catalog", application_name: "np" }));
item("queries_queued_at_once", () => connected(async (c) => {
  const work = Array.from({ length: 200 }, (_, n) => c.query("SELECT $1::int AS n", [n]));
  return (await Promise.all(work)).reduce((sum, r) => sum + r.rows[0].n, 0);
}));
item("binary_results", () => connected(async (c) => (await c.query({ text: "SELECT 7::int4 AS n, 1.5::float8 AS f", binary: true })).rows));
item("a_statement_time_out", () => connected(async (c) => {
  await c.query("SET statement_timeout = 200");
  try { await c.query("SELECT pg_sleep(5)"); } catch (e) { return [e.code, e.message]; }
}));
item("reads_follow_writes_across_a_pool", async () => {
  const pool = new Pool({ max: 10 });
  await pool.query("DROP TABLE IF EXISTS np_seen");
  await pool.query("CREATE TABLE np_seen (n int)");
  for (let n = 0; n < 50; n++) {
    await pool.query("INSERT INTO np_seen VALUES ($1)", [n]);
    const seen = (await pool.query("SELECT max(n) AS n FROM np_seen")).rows[0].n;
    if (seen !== n) throw new Error(`wrote ${n}, saw ${seen}`);
  }
  await pool.end();
});
main();
