import { randomBytes } from "node:crypto";
import { userInfo } from "node:os";
import pg from "pg";
import { type PrivateServer, startPrivatePostgres, startPrivateRedis } from "./private-servers.ts";
import { askRedis, deleteRedisKeys } from "./redis-wire.ts";

/**
 * The real PostgreSQL and Redis of the tests. The runner resolves them once, makes a migrated template database and
 * hands both down; a file run by hand does the same for itself. Servers, in this order: CONCORDAT_TEST_DATABASE_URL and
 * CONCORDAT_TEST_REDIS_URL, what answers on this machine, private ones from installed programs, none.
 * CONCORDAT_TEST_SERVERS=none goes straight to none.
 */

/** Reasons for `skipSuite` where a server is absent. */
export const noPostgres = "no PostgreSQL for the tests (set CONCORDAT_TEST_DATABASE_URL, or install postgresql)";
export const noRedis = "no Redis for the tests (set CONCORDAT_TEST_REDIS_URL, or install redis-server)";

/** What the runner hands down to a file, as JSON in the environment; a database or key of a file starts with its prefix. */
export interface TestServers {
  readonly prefix: string;
  readonly postgres?: { readonly url: string; readonly template: string };
  readonly redis?: { readonly url: string };
}

export const testServersName = "CONCORDAT_TEST_RESOLVED";

/** Servers of a run: what files get, and what removes a file's traces, and those of all when the run ends. */
export interface ResolvedServers extends AsyncDisposable {
  readonly servers: TestServers;
  dropOf(prefix: string): Promise<void>;
}

const namePrefix = "concordat_test_";

/** A database of its own for a test, copied from the migrated template: its URL, or undefined without PostgreSQL. */
export async function freshDatabaseUrl(): Promise<string | undefined> {
  const { prefix, postgres } = await servers();
  if (postgres === undefined) return undefined;
  const name = `${prefix}${randomBytes(6).toString("hex")}`;
  await withClient(postgres.url, (client) => createDatabase(client, name, postgres.template));
  return databaseUrl(postgres.url, name);
}

/** Where Redis is and below which key prefix a file may write, or undefined without Redis. */
export async function redisSettings(): Promise<{ url: string; prefix: string } | undefined> {
  const { prefix, redis } = await servers();
  return redis === undefined ? undefined : { url: redis.url, prefix: `${prefix}:` };
}

/** Servers that one test has for itself, and so may end and start again. */
export interface OwnServers extends AsyncDisposable {
  readonly postgres: PrivateServer;
  readonly redis: PrivateServer;
}

/** Reason for `skipSuite` without them. */
export const noOwnServers = "no programs of PostgreSQL and Redis to be ended and started (install both)";

/** Starts both, or gives undefined where their programs are not installed or no servers are wanted. */
export async function startOwnServers(): Promise<OwnServers | undefined> {
  if (process.env.CONCORDAT_TEST_SERVERS === "none") return undefined;
  const postgres = await startPrivatePostgres(askPostgres);
  const redis = await startPrivateRedis(pingRedis);
  const dispose = async () => {
    await Promise.all([postgres?.[Symbol.asyncDispose](), redis?.[Symbol.asyncDispose]()]);
  };
  if (postgres !== undefined && redis !== undefined) return { postgres, redis, [Symbol.asyncDispose]: dispose };
  await dispose();
  return undefined;
}

let resolved: Promise<TestServers> | undefined;

function servers(): Promise<TestServers> {
  resolved ??= resolveForThisFile();
  return resolved;
}

async function resolveForThisFile(): Promise<TestServers> {
  const handedDown = process.env[testServersName];
  if (handedDown !== undefined) return JSON.parse(handedDown) as TestServers;
  const own = await resolveServers();
  let dropping = false;
  process.on("beforeExit", () => {
    if (!dropping) void own[Symbol.asyncDispose]();
    dropping = true;
  });
  return own.servers;
}

/**
 * Finds or starts the servers, drops what dead runs left, and makes the template.
 * Throws where a server that a setting names does not answer: a run that was told to use it must not skip it.
 */
export async function resolveServers(): Promise<ResolvedServers> {
  const run = `${Date.now().toString(36)}${randomBytes(3).toString("hex")}`;
  const prefix = `${namePrefix}${run}_`;
  const none = process.env.CONCORDAT_TEST_SERVERS === "none";
  const undo: Undo[] = [];
  const dispose = async () => {
    for (const step of undo.splice(0).reverse()) await step();
  };
  try {
    const postgres = none ? undefined : await findPostgres(undo);
    const redis = none ? undefined : await findRedis(undo);
    if (redis !== undefined) undo.push(() => deleteRedisKeys(redis, prefix));
    const template = postgres === undefined ? undefined : await makeTemplate(postgres, run, prefix, undo);
    return {
      servers: {
        prefix,
        ...(postgres === undefined || template === undefined ? {} : { postgres: { url: postgres, template } }),
        ...(redis === undefined ? {} : { redis: { url: redis } }),
      },
      async dropOf(part) {
        if (postgres !== undefined) await dropDatabases(postgres, part);
        if (redis !== undefined) await deleteRedisKeys(redis, part);
      },
      [Symbol.asyncDispose]: dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

type Undo = () => PromiseLike<unknown>;

async function makeTemplate(url: string, run: string, prefix: string, undo: Undo[]): Promise<string> {
  // Held by an open session for as long as the run lives: this is how other runs tell our databases from left ones.
  const holder = await connectClient(url);
  undo.push(() => {
    holdEventLoop(holder, true);
    return holder.end();
  });
  holder.on("error", () => {});
  await holder.query("SELECT pg_advisory_lock(hashtext($1))", [run]);
  holdEventLoop(holder, false);
  undo.push(() => dropDatabases(url, prefix));
  await dropLeftDatabases(url, run);
  const template = `${prefix}template`;
  await withClient(url, (client) => createDatabase(client, template, "template1"));
  await migrate(databaseUrl(url, template));
  return template;
}

async function findPostgres(undo: Undo[]): Promise<string | undefined> {
  const named = process.env.CONCORDAT_TEST_DATABASE_URL;
  if (named !== undefined) {
    await askPostgres(named).catch((error) => refuse("CONCORDAT_TEST_DATABASE_URL", error));
    return named;
  }
  for (const user of new Set([userInfo().username, "postgres"])) {
    const url = `postgres://${user}@127.0.0.1:5432/postgres`;
    const usable = await withClient(url, mayCreateDatabases).catch(() => false);
    if (usable) return url;
  }
  const own = await startPrivatePostgres(askPostgres);
  if (own !== undefined) undo.push(() => own[Symbol.asyncDispose]());
  return own?.url;
}

async function findRedis(undo: Undo[]): Promise<string | undefined> {
  const named = process.env.CONCORDAT_TEST_REDIS_URL;
  if (named !== undefined) {
    await pingRedis(named).catch((error) => refuse("CONCORDAT_TEST_REDIS_URL", error));
    return named;
  }
  const local = "redis://127.0.0.1:6379";
  if (
    await pingRedis(local).then(
      () => true,
      () => false,
    )
  )
    return local;
  const own = await startPrivateRedis(pingRedis);
  if (own !== undefined) undo.push(() => own[Symbol.asyncDispose]());
  return own?.url;
}

const askPostgres = (url: string) => withClient(url, async (client) => void (await client.query("SELECT 1")));

const pingRedis = async (url: string) => void (await askRedis(url, "PING"));

function refuse(setting: string, cause: unknown): never {
  throw new Error(`the server that ${setting} names does not answer; start it, or unset ${setting}`, { cause });
}

async function mayCreateDatabases(client: pg.Client): Promise<boolean> {
  const { rows } = await client.query(
    "SELECT rolcreatedb OR rolsuper AS may FROM pg_roles WHERE rolname = current_user",
  );
  return rows[0]?.may === true;
}

/** Migrates as a node does at its start; the storage is loaded only here, for most runs of one file do without it. */
async function migrate(url: string): Promise<void> {
  const { openDatabase } = await import("../../src/storage/database.ts");
  const database = await openDatabase({ url });
  await database[Symbol.asyncDispose]();
}

async function createDatabase(client: pg.Client, name: string, template: string): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await client.query(`CREATE DATABASE "${name}" TEMPLATE "${template}"`);
      return;
    } catch (error) {
      // 55006: somebody is connected to the template, for instance an autovacuum worker, for a moment.
      if (attempt === 20 || (error as { code?: unknown }).code !== "55006") throw error;
      await new Promise((resolve) => setTimeout(resolve, 100 * attempt));
    }
  }
}

async function dropDatabases(url: string, prefix: string): Promise<void> {
  await withClient(url, async (client) => {
    for (const name of await listDatabases(client, prefix)) {
      await client.query(`DROP DATABASE IF EXISTS "${name}" WITH (FORCE)`);
    }
  });
}

/** Drops databases of runs that were killed: those whose run no longer holds its lock. */
async function dropLeftDatabases(url: string, run: string): Promise<void> {
  await withClient(url, async (client) => {
    for (const name of await listDatabases(client, namePrefix)) {
      const owner = name.slice(namePrefix.length).split("_")[0] ?? "";
      if (owner === run) continue;
      const { rows } = await client.query("SELECT pg_try_advisory_lock(hashtext($1)) AS dead", [owner]);
      if (rows[0]?.dead === true) await client.query(`DROP DATABASE IF EXISTS "${name}" WITH (FORCE)`);
    }
  });
}

async function listDatabases(client: pg.Client, prefix: string): Promise<string[]> {
  const { rows } = await client.query("SELECT datname FROM pg_database WHERE starts_with(datname, $1)", [prefix]);
  return rows.map((row) => String(row.datname));
}

async function withClient<T>(url: string, use: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = await connectClient(url);
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}

async function connectClient(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
  await client.connect();
  return client;
}

/** The session that marks a run as alive must not keep a file from ending; pg's types do not know `ref` and `unref`. */
function holdEventLoop(client: pg.Client, hold: boolean): void {
  const counted = client as pg.Client & { ref(): void; unref(): void };
  if (hold) counted.ref();
  else counted.unref();
}

function databaseUrl(serverUrl: string, name: string): string {
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  return url.href;
}
