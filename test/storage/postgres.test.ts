import { createServer } from "node:net";
import { sql } from "drizzle-orm";
import pg from "pg";
import * as assert from "uvu/assert";
import { ConcordatError } from "../../src/errors.ts";
import { isUnavailable, openDatabase } from "../../src/storage/database.ts";
import { freshDatabaseUrl, noPostgres } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

const url = await freshDatabaseUrl();
const test = url === undefined ? skipSuite("PostgreSQL connections", noPostgres) : suite("PostgreSQL connections");

const failure = (run: Promise<unknown>) =>
  run.then(
    () => undefined,
    (error: unknown) => error,
  );

/** Ends all other connections to the test's database. */
async function endConnections(): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(
    "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
  );
  await client.end();
}

test("calls a connection that is lost in a transaction unavailable, and goes on with another", async () => {
  await using database = await openDatabase({ url });
  const error = await failure(
    database.transaction(async (tx) => {
      await endConnections();
      await tx.execute(sql`select 1`);
    }),
  );
  assert.is(isUnavailable(error), true);
  for (let n = 0; n < 20; n += 1) await database.transaction((tx) => tx.execute(sql`select 1`));
});

test("outlives connections that end while they are idle", async () => {
  let lost = 0;
  await using database = await openDatabase({ url, onConnectionLost: () => (lost += 1) });
  await database.db.execute(sql`select 1`);
  await endConnections();
  while (lost === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  await database.db.execute(sql`select 1`);
});

test("calls a store that cannot be written unavailable", async () => {
  await using database = await openDatabase({ url });
  const error = await failure(
    database.transaction(async (tx) => {
      await tx.execute(sql`set transaction read only`);
      await tx.execute(sql`delete from roles`);
    }),
  );
  assert.is(isUnavailable(error), true);
});

test("gives up what waited for a connection and then for its answer when both have had their time together", async () => {
  await using database = await openDatabase({ url });
  const other = new pg.Client({ connectionString: url });
  await other.connect();
  await other.query("begin");
  await other.query("lock table roles in access exclusive mode");
  let release: () => void = () => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  let begun = 0;
  const holding = Array.from({ length: 10 }, () =>
    database.transaction(async () => {
      begun += 1;
      await released;
    }),
  );
  await until("every connection is taken", () => begun === holding.length);

  const start = performance.now();
  const waiting = failure(database.db.execute(sql`select from roles`));
  // A connection is waited for up to 5 s, and an answer alone takes as long.
  await new Promise((resolve) => setTimeout(resolve, 4_000));
  release();
  const error = await waiting;
  const waited = performance.now() - start;
  await Promise.all(holding);
  await other.end();
  assert.is(isUnavailable(error), true);
  assert.ok(waited < 8_000, `given up after ${waited} ms`);
  await database.db.execute(sql`select from roles`);
});

test("calls a mistake of the program no such thing", async () => {
  await using database = await openDatabase({ url });
  assert.is(isUnavailable(await failure(database.db.execute(sql`select * from nowhere`))), false);
});

test.run();

const unreachable = suite("no PostgreSQL at the address");

unreachable("says where nothing answers, and not with which password", async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  const error = await failure(openDatabase({ url: `postgres://node:hidden@127.0.0.1:${port}/concordat` }));
  assert.instance(error, ConcordatError);
  assert.is((error as ConcordatError).code, "database_unreachable");
  assert.match((error as ConcordatError).message, `127.0.0.1:${port}/concordat`);
  assert.not.match((error as ConcordatError).message, "hidden");
});

unreachable.run();
