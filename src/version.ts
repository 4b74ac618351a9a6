/** The version of this program, as its package has it. */
import { readFileSync } from "node:fs";

function readVersion(): string {
  for (let at = new URL("./", import.meta.url); ; at = new URL("../", at)) {
    try {
      const { name, version } = JSON.parse(readFileSync(new URL("package.json", at), "utf8"));
      if (name === "concordat") return version;
    } catch {
      // No package here: look one folder up.
    }
    if (at.pathname === "/") throw new Error("the package.json of concordat is not above its code");
  }
}

export const version = readVersion();
