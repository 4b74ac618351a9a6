/** PostgreSQL through `pg`, with the types that PGlite gives. */
import { drizzle, type NodePgDatabase } from "drizzle-orm/node-postgres";
import { migrate } from "drizzle-orm/node-postgres/migrator";
import pg from "pg";
import { limits } from "../protocol/limits.ts";
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
 * What a statement may take, and the wait for a connection before it, milliseconds: a server that is frozen must cost a
 * request much less than the 10 s that peers wait. The server's own limit comes first, so that a slow statement ends
 * there too.
 */
const answerWithin = limits.storeMilliseconds;
const statementWithin = 5_000;
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
    statement_timeout: statementWithin,
    idle_in_transaction_session_timeout: idleInTransaction,
  });
  pool.on("error", onConnectionLost);

  // Making a handle costs as much as a statement: one for each connection, for as long as that lives.
  const connections = new WeakMap<pg.PoolClient, Connection>();
  const connectionOf = (client: pg.PoolClient): Connection => {
    const connection = connections.get(client) ?? createConnection(client);
    connections.set(client, connection);
    return connection;
  };
  const withConnection = async <T>(run: (connection: Connection) => Promise<T>): Promise<T> => {
    const end = performance.now() + answerWithin;
    const client = await pool.connect();
    // Without a listener a connection that ends while it is in use would end the process.
    client.on("error", onConnectionLost);
    let broken = false;
    try {
      const connection = connectionOf(client);
      connection.answerFirstBy(end);
      return await run(connection);
    } catch (error) {
      broken = isUnavailable(error);
      throw error;
    } finally {
      client.off("error", onConnectionLost);
      client.release(broken);
    }
  };
  const query: Query = (...asked) => withConnection((connection) => connection.query(...asked));
  // drizzle's own would begin on one connection and go on with another.
  const transaction = <T>(run: (tx: Handle) => Promise<T>) => withConnection(({ db }) => db.transaction(run));
  const open = new Set<pg.PoolClient>();
  pool.on("connect", (client) => open.add(client));
  pool.on("remove", (client) => open.delete(client));
  let closed: Promise<void> | undefined;
  const close = () => {
    closed ??= endPool(pool, open);
    return closed;
  };
  return {
    db: Object.assign(drizzle({ client: { query } as pg.Pool }), { transaction }),
    transaction,
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

/** As drizzle asks: the statement, and its parameters. */
type Query = (statement: pg.QueryConfig, parameters?: unknown[]) => Promise<pg.QueryResult>;

/** A connection of the pool. */
interface Connection {
  readonly db: Handle;
  readonly query: Query;
  /** Whoever takes the connection has waited for it: the first statement is answered by then, or given up. */
  answerFirstBy(end: number): void;
}

/**
 * Sends nothing more once a statement got no answer: drizzle's rollback would wait as long again, and the server rolls
 * back by itself when the connection is dropped.
 */
function createConnection(client: pg.PoolClient): Connection {
  let failure: unknown;
  let firstBy: number | undefined;
  const query: Query = async (statement, parameters) => {
    if (failure !== undefined) throw failure;
    // What is asked first has waited for its connection; 0 would be no limit.
    const left = firstBy === undefined ? answerWithin : Math.max(1, firstBy - performance.now());
    firstBy = undefined;
    try {
      return await client.query({ ...statement, query_timeout: left } as pg.QueryConfig, parameters);
    } catch (error) {
      // With a state it was the server that answered.
      if (isUnavailable(error) && sqlState(error) === undefined) failure = error;
      throw error;
    }
  };
  const db = drizzle({ client: { query } as pg.PoolClient });
  return {
    db,
    query,
    answerFirstBy(end) {
      firstBy = end;
    },
  };
}
