/**
 * The seed of PGlite: a freshly initialised cluster as a tar, made when the package is built. Initialising at the first
 * start instead takes several seconds and 850 MB.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { PGlite } from "@electric-sql/pglite";
import { packageRoot } from "./package-root.ts";

export const seedPath = join(packageRoot, "dist", "pglite-seed.tar.gz");

/** The seed of the build as a tar; where it is missing, one that is initialised now. */
export async function readSeed(): Promise<Buffer> {
  try {
    return gunzipSync(await readFile(seedPath));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    return await makeSeed("none");
  }
}

/** Initialises a cluster in memory. */
export async function makeSeed(compression: "gzip" | "none"): Promise<Buffer> {
  const pglite = await PGlite.create();
  try {
    await pglite.exec("checkpoint");
    return Buffer.from(await (await pglite.dumpDataDir(compression)).arrayBuffer());
  } finally {
    await pglite.close();
  }
}

export interface SeedEntry {
  /** Relative, with `/`, without a leading or a final one. */
  readonly path: string;
  /** Undefined for a folder. */
  readonly content?: Buffer;
}

/** Entries of a tar as PGlite writes it: plain files and folders, names of at most 100 octets. */
export function* readTar(tar: Buffer): Generator<SeedEntry> {
  const field = (at: number, length: number) => tar.toString("latin1", at, at + length).replace(/\0.*$/s, "");
  for (let at = 0; at + 512 <= tar.length && tar[at] !== 0; ) {
    const size = Number.parseInt(field(at + 124, 12).trim() || "0", 8);
    const path = field(at, 100).replace(/^\/+|\/+$/g, "");
    const folder = field(at + 156, 1) === "5";
    const start = at + 512;
    if (path !== "") yield folder ? { path } : { path, content: tar.subarray(start, start + size) };
    at = start + Math.ceil(size / 512) * 512;
  }
}
