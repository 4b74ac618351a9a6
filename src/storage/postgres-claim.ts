/**
 * Who may use a PostgreSQL: one process alone, or several that share a Redis. A session advisory lock on a connection of
 * its own, which the server gives up with that connection, so that a process that was killed leaves nothing behind.
 */
import type pg from "pg";
import { ConcordatError } from "../errors.ts";
import { createClient, endClient, placeOf, unreachable } from "./postgres-connection.ts";
import { isUnavailable } from "./sql-errors.ts";

/** Chosen once, for ever: processes of different versions must meet at the same lock. */
const claimLock = 7_228_301_255;
/** How often the connection is asked whether it still lives, and a lost one is replaced, milliseconds. */
const checkEvery = 5_000;
const reconnectEvery = 500;
/** What the server may take to notice that the holder before was killed, milliseconds. */
const patience = 2_000;

export interface PostgresClaimOptions {
  /** Beside others that share it, too; alone otherwise. */
  readonly shared?: boolean;
  /** Told once when the connection was lost and another process was quicker: this process must not go on. */
  readonly onTaken: (error: ConcordatError) => void;
}

/**
 * Claims the database at `url` for this process until it is disposed; a lost connection is replaced.
 * @throws {ConcordatError} `database_in_use` by another process, `database_unreachable`
 */
export async function claimPostgres(
  url: string,
  { shared = false, onTaken }: PostgresClaimOptions,
): Promise<AsyncDisposable> {
  let session: Session | undefined;
  let before: Session | undefined;
  let timer: NodeJS.Timeout | undefined;
  let checking: Promise<void> | undefined;
  let closed = false;
  const closing = new AbortController();

  const plan = (delay: number) => {
    clearTimeout(timer);
    if (closed) return;
    timer = setTimeout(() => {
      checking ??= check().finally(() => {
        checking = undefined;
        plan(session === undefined ? reconnectEvery : checkEvery);
      });
    }, delay);
    timer.unref();
  };
  const open = () => openSession(url, { shared, before, onLost: () => plan(0), signal: closing.signal });
  const forget = async (): Promise<void> => {
    const lost = session;
    session = undefined;
    before = lost ?? before;
    if (lost !== undefined) await endClient(lost.client);
  };
  const check = async (): Promise<void> => {
    try {
      await session?.client.query("select 1");
    } catch {
      await forget();
    }
    if (session !== undefined || closed) return;
    try {
      session = await open();
    } catch (error) {
      // Whatever else it is will pass or be seen by every query: the next check tries again.
      if (!(error instanceof ConcordatError)) return;
      closed = true;
      onTaken(error);
    }
  };

  try {
    session = await open();
  } catch (error) {
    throw isUnavailable(error) ? unreachable(url, error) : error;
  }
  plan(checkEvery);
  return {
    async [Symbol.asyncDispose]() {
      closed = true;
      clearTimeout(timer);
      closing.abort();
      await forget();
      await checking;
      // A check that was under way may have connected meanwhile.
      await forget();
    },
  };
}

/** A connection that holds the lock, and how the server knows it. */
interface Session {
  readonly client: pg.Client;
  readonly pid: number;
  readonly started: string;
}

interface SessionOptions {
  readonly shared: boolean;
  /** The session of this process that was lost: where the server has not noticed that yet, it is ended. */
  readonly before: Session | undefined;
  readonly onLost: () => void;
  /** Cuts off a session that is being opened. */
  readonly signal: AbortSignal;
}

/** @throws {ConcordatError} `database_in_use`, and whatever the driver throws */
async function openSession(url: string, { shared, before, onLost, signal }: SessionOptions): Promise<Session> {
  const client = createClient(url, { query_timeout: checkEvery }, onLost);
  const cut = () => client.connection.stream.destroy();
  signal.addEventListener("abort", cut);
  try {
    await client.connect();
    if (before !== undefined) {
      await client.query(
        "select pg_terminate_backend(pid) from pg_stat_activity where pid = $1 and backend_start::text = $2",
        [before.pid, before.started],
      );
    }
    if (!(await takeLock(client, shared))) throw inUse(url, shared);
    const { rows } = await client.query(
      "select pid, backend_start::text as started from pg_stat_activity where pid = pg_backend_pid()",
    );
    return { client, pid: rows[0].pid, started: rows[0].started };
  } catch (error) {
    await endClient(client);
    throw error;
  } finally {
    signal.removeEventListener("abort", cut);
  }
}

async function takeLock(client: pg.Client, shared: boolean): Promise<boolean> {
  const take = shared ? "pg_try_advisory_lock_shared" : "pg_try_advisory_lock";
  for (const end = performance.now() + patience; ; ) {
    const { rows } = await client.query(`select ${take}($1) as taken`, [claimLock]);
    if (rows[0].taken) return true;
    if (performance.now() > end) return false;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function inUse(url: string, shared: boolean): ConcordatError {
  if (shared) {
    return new ConcordatError(
      "database_in_use",
      `A process of Concordat without CONCORDAT_REDIS_URL uses the database ${placeOf(url)} (CONCORDAT_DATABASE_URL) ` +
        "alone: stop it, or start it with the Redis that all of them share.",
    );
  }
  return new ConcordatError(
    "database_in_use",
    `Another process of Concordat uses the database ${placeOf(url)} (CONCORDAT_DATABASE_URL), and without ` +
      "CONCORDAT_REDIS_URL one process may: stop the other one, or give this one a database of its own.",
  );
}
