/** What runs a node, or works on its stores while it is stopped. */
import { join } from "node:path";
import { readConfig } from "../config.ts";
import { loadNodeKeys, type NodeKeys } from "../identity/node-keys.ts";
import { createNode, prepareDataDir } from "../node.ts";
import { openDatabase } from "../storage/database.ts";

/** Runs a node in this process; returns when SIGTERM or SIGINT has closed it. */
export async function serve(): Promise<void> {
  const config = readConfig();
  const node = await createNode(config);
  announce(node.origin, node.firstPassword, config.dataDir);
  await new Promise<void>((resolve, reject) => {
    const stop = () => void node.close().then(resolve, reject);
    process.once("SIGTERM", stop);
    process.once("SIGINT", stop);
  });
}

function announce(origin: string, password: string | null, dataDir: string): void {
  if (!process.stdout.isTTY) return;
  const lines = [`Concordat listens for ${origin}`, `  API description  ${origin}/openapi.json`];
  if (password !== null)
    lines.push("", `First start: log in as admin with ${password}`, "It is shown once; keep it now.");
  else lines.push(`  data             ${dataDir}`);
  process.stderr.write(`${lines.join("\n")}\n`);
}

/** Applies the migrations; gives the kind of database. */
export async function migrateNode(): Promise<"pglite" | "postgres"> {
  const config = readConfig();
  await prepareDataDir(config.dataDir);
  await using database = await openDatabase({ url: config.databaseUrl, dataDir: join(config.dataDir, "database") });
  return database.kind;
}

/** The node's keys; they are made when there are none yet. */
export async function readNodeKeys(): Promise<{ readonly origin: string; readonly keys: NodeKeys }> {
  const config = readConfig();
  await prepareDataDir(config.dataDir);
  return { origin: config.origin, keys: await loadNodeKeys({ dataDir: config.dataDir, secret: config.nodeKeys }) };
}
