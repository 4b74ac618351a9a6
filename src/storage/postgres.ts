/** PostgreSQL through `pg`, with the types that PGlite gives. */
import { drizzle, type NodePgDatabase } from "drizzle-orm/node-postgres";
import { migrate } from "drizzle-orm/node-postgres/migrator";
import pg from "pg";
import { within } from "../within.ts";
import { migrateSchema } from "./migrate.ts";
import { connectClient, connectionSettings, endClient, unreachable } from "./postgres-connection.ts";
import { isUnavailable, sqlState } from "./sql-errors.ts";

/** Chosen once, for ever: processes of different versions must meet at the same lock. */
const migrationLock = 7_228_301_254;

const { builtins } = pg.types;
// drizzle asks the parsers of the whole process and none other, so this is the one place for them: int8 (and with it
// count(*)) is a number as on PGlite, bytea a plain Uint8Array.
const parseBuffer = pg.types.getTypeParser(builtins.BYTEA) as (text: string) => Buffer;
pg.types.setTypeParser(builtins.INT8, (text) => {
  const number = Number(text);
  return Number.isSafeInteger(number) ? number : BigInt(text);
});
pg.types.setTypeParser(builtins.BYTEA, (text) => Uint8Array.from(parseBuffer(text)));

type Handle = NodePgDatabase;

export interface OpenPostgres {
  readonly db: Handle;
  transaction<T>(run: (tx: Handle) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

/**
 * What a statement may take, milliseconds: a server that is frozen must cost a request less than the 10 s that peers
 * wait. The server's own limit comes first, so that a slow statement ends there too.
 */
const answerWithin = 6_000;
const statementWithin = 5_500;
/** What statements that run may still take when the pool ends, and servers for their goodbye, milliseconds. */
const goodbye = 500;
/** A session whose process is out of reach must not keep its locks, milliseconds. */
const idleInTransaction = 15_000;

/** Connects and migrates under an advisory lock, so that processes that start together migrate once. */
export async function openPostgres(
  url: string,
  onConnectionLost: (error: Error) => void = () => {},
): Promise<OpenPostgres> {
  await migratePostgres(url, onConnectionLost);
  const pool = new pg.Pool({
    ...connectionSettings(url),
    max: 10,
    query_timeout: answerWithin,
    statement_timeout: statementWithin,
    idle_in_transaction_session_timeout: idleInTransaction,
  });
  pool.on("error", onConnectionLost);

  // Making a handle costs as much as a statement: one for each connection, for as long as that lives.
  const handles = new WeakMap<pg.PoolClient, Handle>();
  const handleOf = (client: pg.PoolClient): Handle => {
    const handle = handles.get(client) ?? drizzle({ client: failFast(client) });
    handles.set(client, handle);
    return handle;
  };
  const withHandle = async <T>(run: (db: Handle) => Promise<T>): Promise<T> => {
    const client = await pool.connect();
    // Without a listener a connection that ends while it is in use would end the process.
    client.on("error", onConnectionLost);
    let broken = false;
    try {
      return await run(handleOf(client));
    } catch (error) {
      broken = isUnavailable(error);
      throw error;
    } finally {
      client.off("error", onConnectionLost);
      client.release(broken);
    }
  };
  const open = new Set<pg.PoolClient>();
  pool.on("connect", (client) => open.add(client));
  pool.on("remove", (client) => open.delete(client));
  let closed: Promise<void> | undefined;
  const close = () => {
    closed ??= endPool(pool, open);
    return closed;
  };
  return {
    db: drizzle({ client: pool }),
    // drizzle's own over a pool keeps the connection for ever when `begin` fails.
    transaction: (run) => withHandle((db) => db.transaction(run)),
    close,
  };
}

/**
 * Ends the connections: what runs on one may end within moments, and what the server does not answer is given up. A
 * connection that is left would keep the process alive.
 */
async function endPool(pool: pg.Pool, open: ReadonlySet<pg.PoolClient>): Promise<void> {
  const ended = new Promise<void>((resolve) => {
    const check = () => void (open.size === 0 && resolve());
    pool.on("remove", check);
    check();
  });
  await within(goodbye, Promise.all([pool.end(), ended]));
  for (const client of open) client.connection.stream.destroy();
  await ended;
}

/** One connection beside those of a node: it claims nothing and leaves the schema as it is. */
export async function connectPostgres(url: string): Promise<Pick<OpenPostgres, "db" | "close">> {
  const client = await connectClient(url, { query_timeout: answerWithin });
  return { db: drizzle({ client }), close: () => endClient(client) };
}

/** On a connection of its own without limits: migrations take long, and so does waiting for those of another process. */
async function migratePostgres(url: string, onConnectionLost: (error: Error) => void): Promise<void> {
  let client: pg.Client | undefined;
  try {
    client = await connectClient(url, {}, onConnectionLost);
    const db = drizzle({ client });
    await client.query("select pg_advisory_lock($1)", [migrationLock]);
    await migrateSchema(db, (config) => migrate(db, config));
  } catch (error) {
    throw isUnavailable(error) ? unreachable(url, error) : error;
  } finally {
    // The lock ends with the connection.
    if (client !== undefined) await endClient(client);
  }
}

/**
 * The client, which sends nothing more once a statement got no answer: drizzle's rollback would wait as long again, and
 * the server rolls back by itself when the connection is dropped.
 */
function failFast(client: pg.PoolClient): pg.PoolClient {
  let failure: unknown;
  const query = async (...statement: Parameters<pg.PoolClient["query"]>) => {
    if (failure !== undefined) throw failure;
    try {
      return await client.query(...statement);
    } catch (error) {
      // With a state it was the server that answered.
      if (isUnavailable(error) && sqlState(error) === undefined) failure = error;
      throw error;
    }
  };
  return Object.assign(Object.create(client), { query });
}
