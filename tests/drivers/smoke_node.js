// node-postgres: a prepared read, a write in a transaction, a cancel. Connection from PG* variables.
const assert = require('node:assert');
const { Client, Connection } = require('pg');

// node-postgres has no public cancel for a running query's key, but its Connection sends the packet.
function cancel(client) {
  return new Promise((resolve, reject) => {
    const connection = new Connection({ stream: undefined });
    connection.on('connect', () => connection.cancel(client.processID, client.secretKey));
    connection.on('end', resolve);
    connection.on('error', (error) => (error.code === 'ECONNRESET' ? resolve() : reject(error)));
    connection.connect(Number(process.env.PGPORT), process.env.PGHOST);
  });
}

async function main() {
  const mark = process.env.MARK;
  const client = new Client();
  await client.connect();
  for (let n = 1; n <= 20; n++) {
    const text = `/* read ${mark} */ SELECT name FROM product WHERE id = $1`;
    const { rows } = await client.query({ name: 'read', text, values: [n] });
    assert.deepStrictEqual(rows, [{ name: `product ${n}` }]);
  }
  await client.query('BEGIN');
  const insert = `/* write ${mark} */ INSERT INTO note (body) VALUES ($1) RETURNING id`;
  const { id } = (await client.query(insert, [mark])).rows[0];
  await client.query('COMMIT');
  const { rows } = await client.query('SELECT count(*)::int AS n FROM note WHERE id = $1', [id]);
  assert.deepStrictEqual(rows, [{ n: 1 }]);

  const start = Date.now();
  setTimeout(() => cancel(client), 500);
  await assert.rejects(client.query('SELECT pg_sleep(60)'), { code: '57014' });
  assert(Date.now() - start < 20000);
  assert.strictEqual((await client.query('SELECT 1 AS one')).rows[0].one, 1);
  await client.query('DELETE FROM note WHERE id = $1', [id]);
  await client.end();
  console.log('ok');
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
