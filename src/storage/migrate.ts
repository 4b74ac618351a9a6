/** Brings a database to the schema of this program, and refuses one that a newer program has moved on. */
import { join } from "node:path";
import { sql } from "drizzle-orm";
import { type MigrationConfig, readMigrationFiles } from "drizzle-orm/migrator";
import type { PgDatabase, PgQueryResultHKT } from "drizzle-orm/pg-core";
import { ConcordatError } from "../errors.ts";
import { packageRoot } from "./package-root.ts";

/** drizzle's own place for what was applied. */
const journalTable = sql`drizzle.__drizzle_migrations`;

/**
 * Applies the migrations that are missing, in one transaction. The caller sees to it that only one process does so.
 * @param apply drizzle's migrator of the driver in use
 * @throws {ConcordatError} `schema_newer` when the database holds a migration that this program does not have
 */
export async function migrateSchema<Result extends PgQueryResultHKT>(
  db: PgDatabase<Result>,
  apply: (config: MigrationConfig) => Promise<unknown>,
  migrationsFolder = join(packageRoot, "migrations"),
): Promise<void> {
  const config = { migrationsFolder };
  const known = new Set(readMigrationFiles(config).map(({ folderMillis }) => folderMillis));
  const applied = await readApplied(db);
  const unknown = applied.find((millis) => !known.has(millis));
  if (unknown !== undefined) throw newerSchema(unknown, Math.max(...known));
  // Nothing to do is the usual case, and then the database need not be writable.
  if (applied.length < known.size) await apply(config);
}

export type SchemaState = "none" | "older" | "current" | "newer";

/** How a database's schema compares with this program's; changes nothing. */
export async function compareSchema<Result extends PgQueryResultHKT>(
  db: PgDatabase<Result>,
  migrationsFolder = join(packageRoot, "migrations"),
): Promise<SchemaState> {
  const known = new Set(readMigrationFiles({ migrationsFolder }).map(({ folderMillis }) => folderMillis));
  const applied = await readApplied(db);
  if (applied.some((millis) => !known.has(millis))) return "newer";
  if (applied.length === 0) return "none";
  return applied.length < known.size ? "older" : "current";
}

/** Times (ms) that name the applied migrations, newest first. */
async function readApplied<Result extends PgQueryResultHKT>(db: PgDatabase<Result>): Promise<number[]> {
  const [table] = await db
    .select({ found: sql<boolean>`to_regclass('drizzle.__drizzle_migrations') is not null` })
    .from(sql`(values (1)) as one`);
  if (!table?.found) return [];
  const rows = await db
    .select({ millis: sql`created_at`.mapWith(Number) })
    .from(journalTable)
    .orderBy(sql`created_at desc`);
  return rows.map(({ millis }) => millis);
}

function newerSchema(found: number, newest: number): ConcordatError {
  const name = (millis: number) => new Date(millis).toISOString();
  return new ConcordatError(
    "schema_newer",
    `The database has the schema of ${name(found)}, and this program knows schemas up to ${name(newest)}: ` +
      "start the version of Concordat that migrated it, or a newer one.",
  );
}
