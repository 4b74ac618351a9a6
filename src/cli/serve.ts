/** What runs a node, or works on its stores while it is stopped. */
import { existsSync } from "node:fs";
import { type Config, readConfig } from "../config.ts";
import { forgetFirstPassword } from "../first-password.ts";
import {
  createKeys,
  migrateStores,
  type NodeDescription,
  readNode,
  resetPassword,
  rotateKeys,
} from "../maintenance.ts";
import { createNode, type Node } from "../node.ts";

/** What a stop may take, whatever the stores do, milliseconds: who told the node to waits for 10 s, then kills it. */
const stopWithin = 9_500;

/** Runs a node in this process; returns when SIGTERM or SIGINT has closed it. */
export async function serve(): Promise<void> {
  const config = readConfig();
  // Listened for from the beginning: a node that is told to stop while it starts ends in order, too.
  const told = new Promise<NodeJS.Signals>((resolve) => {
    process.once("SIGTERM", resolve);
    process.once("SIGINT", resolve);
  });
  // What holds the process any longer is let go: nothing that was answered is lost by that.
  void told.then(() => setTimeout(() => process.exit(0), stopWithin).unref());
  if (process.stdout.isTTY && !existsSync(config.dataDir)) {
    process.stderr.write(`First start: making keys and database in ${config.dataDir}, a few seconds …\n`);
  }
  const node = await createNode(config);
  await announce(config, node);
  const signal = await told;
  node.log.info({ signal }, "the node stops");
  await node.close();
  node.log.info("the node has stopped");
}

/** On a terminal: where the node is, and the first password, which is forgotten then. */
async function announce(config: Config, { origin, fingerprint, firstPassword }: Node): Promise<void> {
  if (!process.stdout.isTTY) return;
  const lines = [
    `Concordat listens for ${origin}`,
    `  API description  ${origin}/openapi.json`,
    `  data             ${config.dataDir}`,
    `  fingerprint      ${fingerprint}`,
  ];
  if (firstPassword !== null) {
    lines.push(
      "",
      `The password of admin is ${firstPassword}`,
      "It is shown once; keep it now. Then, in another terminal:",
      `  concordat admin login ${origin}`,
    );
  }
  process.stderr.write(`${lines.join("\n")}\n`);
  if (firstPassword !== null) await forgetFirstPassword(config);
}

/** Applies the migrations; gives the kind of database. */
export async function migrate(): Promise<"pglite" | "postgres"> {
  return await migrateStores(readConfig());
}

/** Gives an administrator of this machine's node a new password. */
export async function replaceLostPassword(username: string): Promise<{ readonly password: string }> {
  return await resetPassword(readConfig(), username);
}

/** Who this node is, with its keys as the secret that several processes share. */
export async function describeNode(): Promise<NodeDescription> {
  return await readNode(readConfig());
}

/** Keys for a node that was never started, as the secret that its processes share. */
export async function createNodeKeys(): Promise<NodeDescription> {
  return await createKeys();
}

/** Replaces the node's keys; gives who the node is from its next start on. */
export async function rotateNode(): Promise<NodeDescription & { readonly fromFile: boolean }> {
  const config = readConfig();
  return { ...(await rotateKeys(config)), fromFile: config.nodeKeys === undefined };
}
