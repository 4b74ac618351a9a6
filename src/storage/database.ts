/**
 * The relational store: PGlite in the data directory, or PostgreSQL where a URL is given. Nothing above knows which.
 */
import type { PgDatabase, PgQueryResultHKT } from "drizzle-orm/pg-core";
import { ConcordatError } from "../errors.ts";
import { openPglite } from "./pglite.ts";
import { openPostgres } from "./postgres.ts";

export { isLostRace, isUnavailable, isUniqueViolation, sqlState } from "./sql-errors.ts";

/** A transaction, or the handle outside of one: what every function of the registry takes first. */
export type Tx = PgDatabase<PgQueryResultHKT>;

export interface Database extends AsyncDisposable {
  readonly kind: "pglite" | "postgres";
  /** For single statements. Inside `transaction` use its `tx` alone: PGlite has one session and would wait for ever. */
  readonly db: Tx;
  /** Commits when `run` resolves (durably: flushed to disk), rolls back when it rejects. No network inside. */
  transaction<T>(run: (tx: Tx) => Promise<T>): Promise<T>;
}

export interface DatabaseOptions {
  /** `postgres://…`; absent: PGlite in `dataDir`. */
  readonly url?: string | undefined;
  /** PGlite's folder; it is made (mode 0700) where it is missing. */
  readonly dataDir?: string | undefined;
  /** Told of connections that PostgreSQL closed while they were idle. */
  readonly onConnectionLost?: ((error: Error) => void) | undefined;
}

/**
 * Opens the store and brings its schema up to date.
 * @throws {ConcordatError} `data_directory_in_use` by another process, `schema_newer` than this program,
 *   `database_unreachable` where PostgreSQL does not answer
 */
export async function openDatabase({ url, dataDir, onConnectionLost }: DatabaseOptions): Promise<Database> {
  if (url !== undefined) {
    const { db, transaction, close } = await openPostgres(url, onConnectionLost);
    return { kind: "postgres", db, transaction, [Symbol.asyncDispose]: close };
  }
  if (dataDir === undefined) {
    throw new ConcordatError(
      "database_missing",
      "Neither a database URL nor a data directory was given: set one of them.",
    );
  }
  const { db, transaction, close } = await openPglite(dataDir);
  return { kind: "pglite", db, transaction, [Symbol.asyncDispose]: close };
}
