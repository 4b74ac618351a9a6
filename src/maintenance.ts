/** What is done to a node that does not run, or beside one that does: its tables, its keys, a lost password. */
import { join } from "node:path";
import type { Config } from "./config.ts";
import { fingerprint } from "./crypto/keys.ts";
import { prepareDataDir } from "./data-directory.ts";
import { ConcordatError } from "./errors.ts";
import { forgetFirstPassword, makePassword } from "./first-password.ts";
import { exportNodeKeys, loadNodeKeys, makeNodeKeys, type NodeKeys, rotateNodeKeys } from "./identity/node-keys.ts";
import { firstAdministrator, replacePassword } from "./registry/administrators.ts";
import { type Database, openDatabase } from "./storage/database.ts";
import { type Inspection, inspectDatabase } from "./storage/inspect.ts";

/** Applies the migrations and closes again; gives the kind of database. */
export async function migrateStores(config: Config): Promise<Database["kind"]> {
  await prepareDataDir(config.dataDir);
  await using database = await openDatabase({ url: config.databaseUrl, dataDir: join(config.dataDir, "database") });
  return database.kind;
}

export interface NodeDescription {
  /** What the administrators of peers compare. */
  readonly fingerprint: string;
  readonly ed25519: string;
  readonly rsa: string;
  /** The keys as JSON, for `CONCORDAT_NODE_KEYS`. */
  readonly secret: string;
}

/** The keys of a node that has been started before. @throws {ConcordatError} `node_missing` where there are none */
export async function readNode(config: Config): Promise<NodeDescription> {
  return describeKeys(await loadNodeKeys({ dataDir: config.dataDir, secret: config.nodeKeys, existing: true }));
}

function describeKeys(keys: NodeKeys): NodeDescription {
  const { ed25519, rsa } = keys;
  return {
    fingerprint: fingerprint(ed25519.publicJwk),
    ed25519: ed25519.kid,
    rsa: rsa.kid,
    secret: exportNodeKeys(keys),
  };
}

/** Keys for a node that is yet to be started by several processes; they are kept nowhere else. */
export async function createKeys(): Promise<NodeDescription> {
  return describeKeys(await makeNodeKeys());
}

/** New keys, for which the old ones vouch; they count from the next start. Gives the secret that holds them. */
export async function rotateKeys(config: Config): Promise<NodeDescription> {
  const { dataDir, nodeKeys: secret, origin } = config;
  return describeKeys(await rotateNodeKeys({ dataDir, secret, origin, now: new Date() }));
}

/**
 * Gives an administrator a new password, which is kept nowhere; beside a node that runs on PostgreSQL, or while one with
 * embedded stores is stopped.
 * @throws {ConcordatError} `not_found`, `data_directory_in_use`, `database_missing`, `database_unreachable`,
 *   `schema_differs`
 */
export async function resetPassword(config: Config, username: string): Promise<{ readonly password: string }> {
  const password = makePassword();
  await using database = await openBeside(config);
  await database.db.transaction((tx) => replacePassword(tx, username, password, new Date()));
  // It may be the password that waits there to be read, and is none any more.
  if (username === firstAdministrator) await forgetFirstPassword(config);
  return { password };
}

async function openBeside({ databaseUrl: url, dataDir }: Config): Promise<Inspection> {
  const database = await inspectDatabase({ url, dataDir: join(dataDir, "database") }).catch((error: unknown) => {
    if (!(error instanceof ConcordatError && error.code === "data_directory_in_use")) throw error;
    const message = `A process has the embedded database in ${dataDir} open: stop the node, then try again.`;
    throw new ConcordatError(error.code, message, { cause: error });
  });
  if (database.schema === "current") return database;
  await database[Symbol.asyncDispose]();
  throw new ConcordatError(
    "schema_differs",
    `${database.place} does not have the schema of this program: \`concordat doctor\` says what to do.`,
  );
}
