/** A look at a node's database from beside it: nothing is claimed, migrated or changed. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { sql } from "drizzle-orm";
import { ConcordatError } from "../errors.ts";
import type { Tx } from "./database.ts";
import { compareSchema, type SchemaState } from "./migrate.ts";
import { openPglite } from "./pglite.ts";
import { connectPostgres } from "./postgres.ts";
import { placeOf, unreachable } from "./postgres-connection.ts";
import { isUnavailable } from "./sql-errors.ts";

export interface Inspection extends AsyncDisposable {
  /** What and where it is, without user and password. */
  readonly place: string;
  readonly db: Tx;
  readonly schema: SchemaState;
  /** Settings of the server, as it says them. */
  readonly server: { readonly version: number; readonly fsync: string; readonly synchronousCommit: string };
  /** The server's clock. */
  readonly now: Date;
}

/**
 * @param dataDir PGlite's folder, where no `url` is given
 * @throws {ConcordatError} `database_missing` where no node was started, `data_directory_in_use` by a PGlite that runs,
 *   `database_unreachable`, and whatever else the driver throws
 */
export async function inspectDatabase({
  url,
  dataDir,
}: {
  url: string | undefined;
  dataDir: string;
}): Promise<Inspection> {
  const { db, close } = await open(url, dataDir);
  try {
    const { rows } = (await db.execute(sql`
      select current_setting('server_version_num')::int as version, current_setting('fsync') as fsync,
        current_setting('synchronous_commit') as synchronous_commit,
        (extract(epoch from clock_timestamp()) * 1000)::float8 as now`)) as unknown as {
      readonly rows: readonly [{ version: number; fsync: string; synchronous_commit: string; now: number }];
    };
    const [{ version, fsync, synchronous_commit: synchronousCommit, now }] = rows;
    return {
      place: url === undefined ? `PGlite in ${dataDir}` : `PostgreSQL at ${placeOf(url)}`,
      db,
      schema: await compareSchema(db),
      server: { version, fsync, synchronousCommit },
      now: new Date(now),
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function open(url: string | undefined, dataDir: string): Promise<{ readonly db: Tx; close(): Promise<void> }> {
  if (url !== undefined) {
    return await connectPostgres(url).catch((error: unknown) => {
      throw isUnavailable(error) ? unreachable(url, error) : error;
    });
  }
  if (existsSync(join(dataDir, "cluster"))) return await openPglite(dataDir, { asItIs: true });
  throw new ConcordatError("database_missing", `There is no database in ${dataDir}: \`concordat serve\` makes it.`);
}
