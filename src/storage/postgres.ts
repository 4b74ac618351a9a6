/** PostgreSQL through `pg`, with the types that PGlite gives. */
import { drizzle, type NodePgDatabase } from "drizzle-orm/node-postgres";
import { migrate } from "drizzle-orm/node-postgres/migrator";
import pg from "pg";
import { migrateSchema } from "./migrate.ts";
import { connectionSettings, unreachable } from "./postgres-connection.ts";
import * as schema from "./schema.ts";
import { isUnavailable } from "./sql-errors.ts";

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

type Handle = NodePgDatabase<typeof schema>;

export interface OpenPostgres {
  readonly db: Handle;
  transaction<T>(run: (tx: Handle) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

/** Connects and migrates under an advisory lock, so that processes that start together migrate once. */
export async function openPostgres(
  url: string,
  onConnectionLost: (error: Error) => void = () => {},
): Promise<OpenPostgres> {
  const pool = new pg.Pool({
    ...connectionSettings(url),
    max: 10,
  });
  pool.on("error", onConnectionLost);

  const withClient = async <T>(run: (client: pg.PoolClient) => Promise<T>): Promise<T> => {
    const client = await pool.connect();
    // Without a listener a connection that ends while it is in use would end the process.
    client.on("error", onConnectionLost);
    let broken = false;
    try {
      return await run(client);
    } catch (error) {
      broken = isUnavailable(error);
      throw error;
    } finally {
      client.off("error", onConnectionLost);
      client.release(broken);
    }
  };
  let closed: Promise<void> | undefined;
  const close = () => {
    closed ??= pool.end();
    return closed;
  };

  try {
    await withClient(async (client) => {
      const db = drizzle({ client, schema });
      await client.query("select pg_advisory_lock($1)", [migrationLock]);
      try {
        await migrateSchema(db, (config) => migrate(db, config));
      } finally {
        await client.query("select pg_advisory_unlock($1)", [migrationLock]);
      }
    });
  } catch (error) {
    await close();
    throw isUnavailable(error) ? unreachable(url, error) : error;
  }
  return {
    db: drizzle({ client: pool, schema }),
    // drizzle's own over a pool keeps the connection for ever when `begin` fails.
    transaction: (run) => withClient((client) => drizzle({ client, schema }).transaction(run)),
    close,
  };
}
