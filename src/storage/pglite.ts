/** PGlite on disk: PostgreSQL inside this process, one process per folder, every commit flushed. */
import { fsyncSync } from "node:fs";
import { chmod, mkdir, open, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { PGlite, type Transaction } from "@electric-sql/pglite";
import { NodeFS } from "@electric-sql/pglite/nodefs";
import { drizzle, type PgliteDatabase } from "drizzle-orm/pglite";
import { migrate } from "drizzle-orm/pglite/migrator";
import { openLevel } from "./level-lock.ts";
import { migrateSchema } from "./migrate.ts";
import { readSeed, readTar, type SeedEntry } from "./pglite-seed.ts";
import * as schema from "./schema.ts";

type Handle = PgliteDatabase<typeof schema>;

export interface OpenPglite {
  readonly db: Handle;
  transaction<T>(run: (tx: Handle) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

/**
 * Opens `directory`: `lock` (level's, held while open) and `cluster` (PostgreSQL's files).
 * @throws {ConcordatError} `data_directory_in_use`, `schema_newer`
 */
export async function openPglite(directory: string): Promise<OpenPglite> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  // Files inside are 0666 (PGlite knows no umask): the folder keeps others out.
  await chmod(directory, 0o700);
  const lock = await openLevel(join(directory, "lock"), directory, "utf8");
  try {
    const cluster = join(directory, "cluster");
    await plantSeed(cluster);
    const pglite = await startPglite(cluster);
    const close = async () => {
      if (!pglite.closed) await pglite.close();
      await lock.close();
    };
    try {
      const db = drizzle({ client: pglite, schema });
      await migrateSchema(db, (config) => migrate(db, config));
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

async function startPglite(cluster: string): Promise<BreathingPglite> {
  const pglite = new BreathingPglite({
    fs: new FlushingNodeFs(cluster),
    startParams: [
      // They replace the defaults; of these, -F is what turns fsync off.
      ...PGlite.defaultStartParams.filter((parameter) => parameter !== "-F"),
      ...["fsync=on", "wal_sync_method=fsync", "timezone=UTC"].flatMap((setting) => ["-c", setting]),
    ],
  });
  await pglite.waitReady;
  return pglite;
}

/** What is used of emscripten's file system over Node's. */
interface NodeFsModule {
  readonly NODEFS: {
    tryFSOperation(run: () => void): void;
    readonly stream_ops: { fsync?: (stream: { readonly nfd: number }) => number };
  };
}

/** PGlite's NodeFS has no fsync, and PostgreSQL takes that for success: here it reaches the disk. */
class FlushingNodeFs extends NodeFS {
  override async init(...[pglite, options]: Parameters<NodeFS["init"]>): ReturnType<NodeFS["init"]> {
    const { emscriptenOpts } = await super.init(pglite, options);
    const giveFsync = (module: unknown) => {
      const { NODEFS } = module as NodeFsModule;
      NODEFS.stream_ops.fsync = ({ nfd }) => {
        NODEFS.tryFSOperation(() => fsyncSync(nfd));
        return 0;
      };
    };
    const before = [emscriptenOpts.preRun ?? []].flat();
    return { emscriptenOpts: { ...emscriptenOpts, preRun: [...before, giveFsync] } };
  }
}

/** How long queries may follow each other without letting timers and sockets in, milliseconds. */
const breathAfter = 10;

/** PGlite answers within the microtask queue, so that a loop of queries would starve timers and sockets. */
class BreathingPglite extends PGlite {
  #lastBreath = performance.now();

  async #breathe(): Promise<void> {
    if (performance.now() - this.#lastBreath < breathAfter) return;
    await new Promise((resolve) => setImmediate(resolve));
    this.#lastBreath = performance.now();
  }

  override async query<T>(...query: Parameters<PGlite["query"]>) {
    await this.#breathe();
    return await super.query<T>(...query);
  }

  override transaction<T>(run: (tx: Transaction) => Promise<T>): Promise<T> {
    return super.transaction((tx) => {
      const query: Transaction["query"] = async (...rest) => {
        await this.#breathe();
        return await tx.query(...rest);
      };
      return run({ ...tx, query });
    });
  }
}
