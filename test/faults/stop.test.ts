// time limit: 120 s
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import * as assert from "uvu/assert";
import { startLinkedNode } from "../harness/database-link.ts";
import { startNode, type TestNode } from "../harness/node.ts";
import { freshDatabaseUrl, noPostgres } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

/** Told to stop while something does not end: docs/operations.md, "Stopping". */
const test = suite("a node that is told to stop");
const hasPostgres = (await freshDatabaseUrl()) !== undefined;
const name = "a node that is told to stop while PostgreSQL is frozen";
const frozen = hasPostgres ? suite(name) : skipSuite(name, noPostgres);

/** More than the pool has connections. */
const crowd = 25;

/** Lines of warnings and worse. */
const complaints = (node: TestNode) =>
  node
    .log()
    .split("\n")
    .filter((line) => /"level":[456]0/.test(line) && !line.includes("CONCORDAT_ALLOW_PRIVATE_ADDRESSES"));

test("cuts off a request that does not end, and lets its handler end before the stores close", async () => {
  let isAsked = false;
  const silent = createServer(() => {
    isAsked = true;
  });
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  const origin = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
  await using node = await startNode();
  const asked = node.admin.call("POST", "/peers", { origin }).then(
    () => "answered",
    () => "cut off",
  );
  await until("the other side is asked", () => isAsked);
  await node.stop();
  assert.is(await asked, "cut off");
  assert.equal(complaints(node), []);
  const refused = await node.query("select count from journal where code = 'actor_unreachable'");
  assert.equal(refused, [{ count: 1 }], "it went on to its end");
  silent.close();
});

test("has ended what it did in the background when its stores close", async () => {
  await using node = await startNode(hasPostgres ? { store: "postgres" } : {});
  for (let round = 0; round < 12; round += 1) {
    // Each is numbered in the journal soon after, but not sooner than some time after the one before.
    const writing = Array.from({ length: 1 + round }, (_, count) =>
      node.admin.call("POST", "/platforms", { name: "P", handle: `p${round}-${count}` }),
    );
    await writing[0];
    await node.stop();
    await Promise.all(writing);
    await node.start();
  }
  assert.equal(complaints(node), []);
});

const cases = [
  { what: "and complains of nothing else", requests: crowd, most: 10_000 },
  { what: "and waits for no goodbye of the server's", requests: 0, most: 8_000 },
];
for (const { what, requests, most } of cases) {
  frozen(`ends in time, ${what}`, async () => {
    await using linked = await startLinkedNode({ child: true });
    const { node, link } = linked;
    const ask = (count: number) => Array.from({ length: count }, () => node.admin.call("GET", "/peers"));
    await Promise.all(ask(crowd));
    link.freeze();
    const asked = Promise.allSettled(ask(requests));
    const began = performance.now();
    await node.stop();
    assert.ok(performance.now() - began < most);
    await asked;
    assert.match(node.log(), '"msg":"the node has stopped"');
    assert.equal(
      complaints(node).filter((line) => !line.includes("the database cannot be reached")),
      [],
    );
  });
}

/** Whoever migrates holds it (src/storage/postgres.ts). */
const migrationLock = 7_228_301_254;

frozen("ends too while it starts and waits for another process's migrations", async () => {
  const databaseUrl = (await freshDatabaseUrl()) ?? "";
  const dataDir = await mkdtemp(join(tmpdir(), "concordat-stop-"));
  const other = new pg.Client({ connectionString: databaseUrl });
  await other.connect();
  await other.query("select pg_advisory_lock($1)", [migrationLock]);
  const program = join(import.meta.dirname, "..", "..", "src", "main.js");
  const child = spawn(process.execPath, [program, "serve"], {
    cwd: dataDir,
    env: {
      CONCORDAT_ORIGIN: "http://127.0.0.1:9",
      CONCORDAT_LISTEN: "127.0.0.1:0",
      CONCORDAT_DATA_DIR: dataDir,
      CONCORDAT_DATABASE_URL: databaseUrl,
    },
    stdio: "ignore",
  });
  try {
    const ended = once(child, "exit");
    await until("it waits", async () => {
      const waiting =
        "select from pg_locks where locktype = 'advisory' and not granted and database = (select oid from pg_database where datname = current_database())";
      return (await other.query(waiting)).rowCount === 1;
    });
    child.kill("SIGTERM");
    assert.equal(await ended, [0, null]);
  } finally {
    child.kill("SIGKILL");
    await other.end();
    await rm(dataDir, { recursive: true, force: true });
  }
});

test.run();
frozen.run();
