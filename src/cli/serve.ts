/** What runs a node, or works on its stores while it is stopped. */
import { readConfig } from "../config.ts";
import { createNode, migrateStores, type NodeDescription, readNode, rotateKeys } from "../node.ts";

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
export async function migrate(): Promise<"pglite" | "postgres"> {
  return await migrateStores(readConfig());
}

/** Who this node is, with its keys as the secret that several processes share. */
export async function describeNode(): Promise<NodeDescription> {
  return await readNode(readConfig());
}

/** Replaces the node's keys; gives who the node is from its next start on. */
export async function rotateNode(): Promise<NodeDescription & { readonly fromFile: boolean }> {
  const config = readConfig();
  return { ...(await rotateKeys(config)), fromFile: config.nodeKeys === undefined };
}
