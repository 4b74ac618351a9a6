/** PGlite on disk: PostgreSQL inside this process, one process per folder, every commit flushed. */
import { chmod, mkdir, open, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { drizzle, type PgliteDatabase } from "drizzle-orm/pglite";
import { migrate } from "drizzle-orm/pglite/migrator";
import { diskFull, openLevel } from "./level-lock.ts";
import { migrateSchema } from "./migrate.ts";
import { startPglite } from "./pglite-client.ts";
import { readSeed, readTar, type SeedEntry } from "./pglite-seed.ts";

type Handle = PgliteDatabase;

export interface OpenPglite {
  readonly db: Handle;
  transaction<T>(run: (tx: Handle) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

/** Two segments of the write-ahead log. */
const defaultReserve = 32 * 2 ** 20;

export interface PgliteOptions {
  /** Octets of the disk that writes leave free. */
  readonly reserve?: number;
  /** Leaves the schema as it is, whatever that is. */
  readonly asItIs?: boolean;
}

/**
 * Opens `directory`: `lock` (level's, held while open) and `cluster` (PostgreSQL's files).
 * @throws {ConcordatError} `data_directory_in_use`, `disk_full`, `schema_newer`
 */
export async function openPglite(directory: string, options: PgliteOptions = {}): Promise<OpenPglite> {
  try {
    return await openInRoom(directory, options);
  } catch (error) {
    throw hasNoRoom(error) ? diskFull(directory, { cause: error }) : error;
  }
}

const hasNoRoom = (error: unknown) => ["ENOSPC", "EDQUOT"].includes(String((error as NodeJS.ErrnoException).code));

async function openInRoom(
  directory: string,
  { reserve = defaultReserve, asItIs = false }: PgliteOptions,
): Promise<OpenPglite> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  // Files inside are 0666 (PGlite knows no umask): the folder keeps others out.
  await chmod(directory, 0o700);
  const lock = await openLevel(join(directory, "lock"), directory, "utf8");
  try {
    const cluster = join(directory, "cluster");
    await plantSeed(cluster);
    const pglite = await startPglite(cluster, reserve);
    const close = async () => {
      if (!pglite.closed) await pglite.close();
      await lock.close();
    };
    try {
      const db = drizzle({ client: pglite });
      if (!asItIs) await migrateSchema(db, (config) => migrate(db, config));
      return { db, transaction: (run) => db.transaction(run), close };
    } catch (error) {
      await close();
      throw error;
    }
  } catch (error) {
    await lock.close();
    throw error;
  }
}

/** Makes the cluster at the first start: beside its place, flushed, then renamed, so that it is there whole or not at all. */
async function plantSeed(cluster: string): Promise<void> {
  if (await exists(cluster)) return;
  const fresh = `${cluster}.new`;
  await rm(fresh, { recursive: true, force: true });
  await mkdir(fresh, { mode: 0o700 });
  const folders = new Set([fresh]);
  const entries = readTar(await readSeed());
  await Promise.all(Array.from({ length: 8 }, () => writeEntries(fresh, entries, folders)));
  for (const folder of folders) await flushFolder(folder);
  await rename(fresh, cluster);
  await flushFolder(dirname(cluster));
}

/** Takes entries, which others take too, until none is left: a disk flushes several files together in the time of one. */
async function writeEntries(root: string, entries: Iterator<SeedEntry>, folders: Set<string>): Promise<void> {
  for (let next = entries.next(); !next.done; next = entries.next()) {
    const { path, content } = next.value;
    const at = join(root, path);
    const folder = content === undefined ? at : dirname(at);
    folders.add(folder);
    await mkdir(folder, { recursive: true });
    if (content !== undefined) await writeFile(at, content, { flush: true });
  }
}

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return false;
      throw error;
    },
  );
}

async function flushFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
