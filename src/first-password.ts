/** The administrator of the first start, and the password that nobody has chosen. */
import { randomBytes } from "node:crypto";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Config } from "./config.ts";
import { createFirstAdministrator, hasAdministrator, mayCreateFirst } from "./registry/administrators.ts";
import type { Database } from "./storage/database.ts";
import { writeWhole } from "./storage/whole-file.ts";

const passwordFile = "admin-password";
export const makePassword = () => randomBytes(18).toString("base64url");

/**
 * The administrator of the first start. A generated password stands in a file (0600) before it counts, and until
 * somebody has seen it: whatever happens in between, it can be found. Returns the one that waits there.
 */
export async function ensureAdministrator(database: Database, config: Config, now: Date): Promise<string | null> {
  const path = join(config.dataDir, passwordFile);
  if (!(await hasAdministrator(database.db))) {
    await database.transaction(async (tx) => {
      if (!(await mayCreateFirst(tx))) return;
      const password = config.adminPassword ?? makePassword();
      if (config.adminPassword === undefined) await writeWhole(path, `${password}\n`);
      await createFirstAdministrator(tx, password, now);
    });
  }
  const waiting = await readFile(path, "utf8").catch(() => null);
  return waiting?.trim() ?? null;
}

/** The first password was shown to somebody: it is kept nowhere any more. */
export async function forgetFirstPassword(config: Config): Promise<void> {
  await rm(join(config.dataDir, passwordFile), { force: true });
}
