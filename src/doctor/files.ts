/** The data directory and the node's keys. */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { Config } from "../config.ts";
import { fingerprint } from "../crypto/keys.ts";
import { loadNodeKeys } from "../identity/node-keys.ts";
import { type Finding, findingsOf, messageOf } from "./findings.ts";

/** Rights of others than the owner. */
const ofOthers = 0o077;

export async function examineDataDirectory({ dataDir }: Config): Promise<readonly Finding[]> {
  const { ok, warning, wrong } = findingsOf("data directory");
  const folder = await stat(dataDir).catch((error: NodeJS.ErrnoException) => error);
  if (folder instanceof Error) {
    if (folder.code === "ENOENT") {
      return [warning(`${dataDir} is not there yet: \`concordat serve\` makes it, or correct CONCORDAT_DATA_DIR.`)];
    }
    return [wrong(`${dataDir} cannot be read (${folder.code}): run the doctor as the user of the node.`)];
  }
  const user = process.getuid?.();
  if (user !== undefined && folder.uid !== user) {
    return [wrong(`${dataDir} belongs to user ${folder.uid}, and this is user ${user}: run as the user of the node.`)];
  }
  if ((folder.mode & ofOthers) !== 0) return [wrong(`Others may enter ${dataDir}: chmod 700 ${dataDir}`)];
  const findings = [ok(`${dataDir} is for its owner alone.`)];
  const keys = join(dataDir, "node-keys.json");
  if (await isOpenToOthers(keys)) findings.push(wrong(`Others may read the node's keys: chmod 600 ${keys}`));
  const password = join(dataDir, "admin-password");
  if ((await isOpenToOthers(password)) !== undefined) {
    findings.push(warning(`The first password still lies in ${password}: keep it elsewhere and remove the file.`));
  }
  return findings;
}

/** Undefined for a file that is not there. */
async function isOpenToOthers(path: string): Promise<boolean | undefined> {
  return await stat(path).then(
    ({ mode }) => (mode & ofOthers) !== 0,
    () => undefined,
  );
}

export interface OwnKeys {
  readonly fingerprint: string;
  readonly rsa: string;
  readonly ed25519: string;
}

/** The keys that this machine has, with what is to be said of them. */
export async function examineNodeKeys(
  config: Config,
): Promise<{ readonly own: OwnKeys | undefined; readonly findings: readonly Finding[] }> {
  const { ok, warning, wrong } = findingsOf("node keys");
  try {
    const { rsa, ed25519 } = await loadNodeKeys({ dataDir: config.dataDir, secret: config.nodeKeys, existing: true });
    const own = { fingerprint: fingerprint(ed25519.publicJwk), rsa: rsa.kid, ed25519: ed25519.kid };
    const findings = [ok(`Their fingerprint is ${own.fingerprint}.`)];
    if (config.redisUrl !== undefined && config.nodeKeys === undefined) {
      findings.push(
        warning(
          "Several processes need the same keys: give them all CONCORDAT_NODE_KEYS_FILE, made by `concordat node-keys export`.",
        ),
      );
    }
    return { own, findings };
  } catch (error) {
    const isNew = (error as { code?: unknown }).code === "node_missing";
    return { own: undefined, findings: [(isNew ? warning : wrong)(messageOf(error))] };
  }
}
