/** Run by `npm run build` after the compiler: writes the seed of PGlite beside the compiled code. */
import { mkdir, rename, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { makeCompressedSeed, seedPath } from "./pglite-seed.ts";

await mkdir(dirname(seedPath), { recursive: true });
// Renamed into place: a node that starts meanwhile reads a whole seed or none.
await writeFile(`${seedPath}.new`, await makeCompressedSeed());
await rename(`${seedPath}.new`, seedPath);
