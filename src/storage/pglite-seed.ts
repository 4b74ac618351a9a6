/**
 * The seed of PGlite: a freshly initialised cluster as a tar, made when the package is built. Initialising at the first
 * start instead takes several seconds and 850 MB.
 */
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { PGlite } from "@electric-sql/pglite";
import { NodeFS } from "@electric-sql/pglite/nodefs";
import { packageRoot } from "./package-root.ts";

export const seedPath = join(packageRoot, "dist", "pglite-seed.tar.gz");

/** The seed of the build; where it is missing, one that is made now. */
export async function readSeed(): Promise<Buffer> {
  try {
    return gunzipSync(await readFile(seedPath));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    return await makeSeed();
  }
}

/** The seed as it lies in `seedPath`. */
export async function makeCompressedSeed(): Promise<Buffer> {
  return gzipSync(await makeSeed());
}

/**
 * Initialises a cluster and shuts it down before it is packed. What PGlite's `dumpDataDir` gives is taken while the
 * server runs: the first start would have to recover, and to flush every file once more for it.
 */
async function makeSeed(): Promise<Buffer> {
  const root = await mkdtemp(join(tmpdir(), "concordat-seed-"));
  try {
    const pglite = await PGlite.create({ fs: new NodeFS(root) });
    await pglite.close();
    return await packTar(root);
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

export interface SeedEntry {
  /** Relative, with `/`, without a leading or a final one. */
  readonly path: string;
  /** Undefined for a folder. */
  readonly content?: Buffer;
}

const block = 512;
/** A tar's fields by offset and length (POSIX ustar). */
const fields = { name: [0, 100], size: [124, 12], checksum: [148, 8], type: [156, 1] } as const;

async function packTar(root: string): Promise<Buffer> {
  const parts: Buffer[] = [];
  const found = await readdir(root, { recursive: true, withFileTypes: true });
  const entries = found.map((entry) => {
    const path = relative(root, join(entry.parentPath, entry.name)).replaceAll("\\", "/");
    return { path, folder: entry.isDirectory() };
  });
  for (const { path, folder } of entries.sort((a, b) => (a.path < b.path ? -1 : 1))) {
    const content = folder ? Buffer.alloc(0) : await readFile(join(root, path));
    const padding = Buffer.alloc((block - (content.length % block)) % block);
    parts.push(tarHeader(folder ? `${path}/` : path, content.length, folder), content, padding);
  }
  return Buffer.concat([...parts, Buffer.alloc(2 * block)]);
}

function tarHeader(name: string, size: number, folder: boolean): Buffer {
  if (Buffer.byteLength(name) > fields.name[1]) throw new Error(`${name} is too long for a tar of this simple form`);
  const octal = (value: number, length: number) => `${value.toString(8).padStart(length - 1, "0")}\0`;
  const header = Buffer.alloc(block);
  header.write(name, ...fields.name);
  header.write(octal(folder ? 0o700 : 0o600, 8) + octal(0, 8) + octal(0, 8), 100);
  header.write(octal(size, 12) + octal(0, 12), fields.size[0]);
  header.write(folder ? "5" : "0", ...fields.type);
  header.write("ustar\u000000", 257);
  // The checksum counts its own field as spaces.
  header.fill(" ", fields.checksum[0], fields.checksum[0] + fields.checksum[1]);
  const sum = header.reduce((total, octet) => total + octet, 0);
  header.write(`${octal(sum, 7)} `, ...fields.checksum);
  return header;
}

/** Entries of a seed, each folder before what is in it. */
export function* readTar(tar: Buffer): Generator<SeedEntry> {
  const field = (at: number, [offset, length]: readonly [number, number]) =>
    tar.toString("utf8", at + offset, at + offset + length).replace(/\0.*$/s, "");
  for (let at = 0; at + block <= tar.length && tar[at] !== 0; ) {
    const size = Number.parseInt(field(at, fields.size), 8);
    const path = field(at, fields.name);
    const start = at + block;
    yield field(at, fields.type) === "5"
      ? { path: path.replace(/\/$/, "") }
      : { path, content: tar.subarray(start, start + size) };
    at = start + Math.ceil(size / block) * block;
  }
}
