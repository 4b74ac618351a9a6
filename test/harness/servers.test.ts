import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import pg from "pg";
import { equal, is, match } from "uvu/assert";
import { askRedis } from "./redis-wire.ts";
import { freshDatabaseUrl, noPostgres, noRedis, redisSettings, resolveServers, testServersName } from "./servers.ts";
import { skipSuite, suite } from "./suite.ts";

const url = await freshDatabaseUrl();
const redis = await redisSettings();
const postgresTest = url === undefined ? skipSuite("databases for tests", noPostgres) : suite("databases for tests");
const redisTest = redis === undefined ? skipSuite("redis for tests", noRedis) : suite("redis for tests");

async function query(database: string, text: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: database });
  await client.connect();
  try {
    return (await client.query(text)).rows;
  } finally {
    await client.end();
  }
}

const serverUrl = () => new URL("/postgres", url).href;

async function listDatabases(prefix: string): Promise<unknown[]> {
  const rows = await query(serverUrl(), `SELECT datname FROM pg_database WHERE starts_with(datname, '${prefix}')`);
  return rows.map((row) => row.datname);
}

/** A run in a process of its own, which tells its prefix and lives until SIGTERM, or until it is killed. */
async function startRun(): Promise<{ child: ChildProcess; prefix: string }> {
  const program = `
    const { resolveServers } = await import(process.argv[1]);
    const run = await resolveServers();
    console.log(run.servers.prefix);
    process.once("SIGTERM", () => void run[Symbol.asyncDispose]().then(() => process.exit(0)));
    setInterval(() => {}, 1000);`;
  const { [testServersName]: _handedDown, ...env } = process.env;
  const module = join(import.meta.dirname, "servers.js");
  const child = spawn(process.execPath, ["--input-type=module", "-e", program, module], {
    env: { ...env, CONCORDAT_TEST_DATABASE_URL: serverUrl() },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [prefix] = await once(createInterface({ input: child.stdout as Readable }), "line");
  return { child, prefix: String(prefix) };
}

postgresTest("gives each caller a migrated database of its own", async () => {
  const other = (await freshDatabaseUrl()) ?? "";
  await query(url ?? "", "CREATE TABLE only_here (n int)");
  const tables = await query(other, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'");
  const names = tables.map((row) => row.table_name);
  is(names.includes("only_here"), false);
  is(names.includes("journal"), true, names.join(" "));
});

postgresTest("drops what a killed run has left, and nothing of a living one", async () => {
  const killed = await startRun();
  const living = await startRun();
  try {
    killed.child.kill("SIGKILL");
    await once(killed.child, "exit");
    is((await listDatabases(killed.prefix)).length, 1);
    // The server notices a moment later that the killed session is gone.
    for (let attempt = 0; attempt < 50 && (await listDatabases(killed.prefix)).length > 0; attempt += 1) {
      await (await resolveServers())[Symbol.asyncDispose]();
    }
    equal(await listDatabases(killed.prefix), []);
    equal(await listDatabases(living.prefix), [`${living.prefix}template`]);
  } finally {
    living.child.kill("SIGTERM");
    await once(living.child, "exit");
  }
});

redisTest("gives a file keys below a prefix of its own", async () => {
  match(redis?.prefix ?? "", /^concordat_test_.+:$/);
  is(await askRedis(redis?.url ?? "", `SET ${redis?.prefix}probe 1 EX 60`), "+OK");
  is(await askRedis(redis?.url ?? "", `DEL ${redis?.prefix}probe`), ":1");
});

postgresTest.run();
redisTest.run();
