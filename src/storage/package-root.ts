/** Where the files of this package lie that are not code: migrations and the seed of PGlite. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** Absolute path of the package's folder, from `src`, `dist` and the tests' build alike. */
export const packageRoot = findPackageRoot();

function findPackageRoot(): string {
  for (let at = new URL("./", import.meta.url); ; at = new URL("../", at)) {
    if (existsSync(new URL("migrations/meta/_journal.json", at))) return fileURLToPath(at);
    if (new URL("../", at).pathname === at.pathname)
      throw new Error("the migrations of concordat are not above its code");
  }
}
