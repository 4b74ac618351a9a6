/** A copy of the compiled program with lines replaced: tomorrow's version of it, or one with a fault put into it. */
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";

export interface Patch {
  /** Below `src`, compiled: `protocol/activities.js`. */
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

export interface PatchedProgram extends AsyncDisposable {
  /** Its `main.js`. */
  readonly program: string;
}

/** @throws when a patch does not fit exactly once: the program has changed, and the test with it must */
export async function patchProgram(...patches: readonly Patch[]): Promise<PatchedProgram> {
  const build = join(import.meta.dirname, "..", "..");
  const directory = await mkdtemp(join(build, "patched-"));
  await cp(join(build, "src"), join(directory, "src"), { recursive: true });
  // What the program finds beside its own folder.
  await symlink(join(build, "..", "migrations"), join(directory, "migrations"));
  await symlink(join(build, "..", "package.json"), join(directory, "package.json"));
  for (const { file, from, to } of patches) {
    const path = join(directory, "src", file);
    const parts = (await readFile(path, "utf8")).split(from);
    if (parts.length !== 2) throw new Error(`${file} has ${parts.length - 1} times what is to be replaced: ${from}`);
    await writeFile(path, parts.join(to));
  }
  return {
    program: join(directory, "src", "main.js"),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}
