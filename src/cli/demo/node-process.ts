/** A node of the demo: `concordat serve` in a process of its own, with embedded stores in a directory of its own. */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdir, open, readFile, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer, type Server } from "node:net";
import { join } from "node:path";
import { ConcordatError } from "../../errors.ts";
import { createRestClient, type RestClient } from "../../sdk/rest.ts";
import type { WaitFor } from "./wait.ts";

export interface DemoNode {
  readonly name: string;
  readonly origin: string;
  readonly host: string;
  /** Everything that the node writes: its stores, and its log. */
  readonly directory: string;
  readonly passwordFile: string;
  /** Its REST API as the administrator. */
  readonly admin: RestClient;
  start(): Promise<void>;
  /** Ends it in order, by SIGTERM. */
  stop(): Promise<void>;
  /** Ends it at once, by SIGKILL. */
  kill(): Promise<void>;
  /** For the end of the demo's own process, where nothing can be waited for. */
  killNow(): void;
  /** Resolves when the node ends by itself. */
  ended(): Promise<void>;
}

/** A first start makes a database; on a busy machine three at once take their time. */
const startMilliseconds = 60_000;

/** What all nodes of a demo stand in. */
export interface Surroundings {
  readonly directory: string;
  /** Aborted when the demo ends: nothing is started any more. */
  readonly signal: AbortSignal;
  readonly waitFor: WaitFor;
}

const program = join(import.meta.dirname, "..", "..", "main.js");

/** Prepares a node on loopback; `start` runs it. Its administrator's password is made here and kept in a file (0600). */
export async function prepareNode(
  { directory, signal, waitFor }: Surroundings,
  name: string,
  port: number,
): Promise<DemoNode> {
  const origin = `http://127.0.0.1:${port}`;
  const own = join(directory, name);
  const passwordFile = join(directory, `${name}.password`);
  const logFile = join(own, "node.log");
  const password = randomBytes(18).toString("base64url");
  await mkdir(own, { mode: 0o700 });
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
  let child: ChildProcess | undefined;

  const start = async () => {
    const log = await open(logFile, "a", 0o600);
    try {
      signal.throwIfAborted();
      child = spawn(process.execPath, [program, "serve"], {
        cwd: own,
        // A group of its own: Ctrl-C on the terminal reaches the demo, which ends its nodes in order.
        detached: true,
        stdio: ["ignore", log.fd, log.fd],
        // Nothing of the surroundings: whoever has settings for a node of their own gets this demo all the same.
        env: {
          CONCORDAT_ORIGIN: origin,
          CONCORDAT_LISTEN: `127.0.0.1:${port}`,
          CONCORDAT_DATA_DIR: join(own, "data"),
          CONCORDAT_ADMIN_PASSWORD_FILE: passwordFile,
          CONCORDAT_ALLOW_PRIVATE_ADDRESSES: "true",
          CONCORDAT_DELIVERY_RETRY_BASE_MS: "500",
          CONCORDAT_DELIVERY_RETRY_CAP_MS: "2000",
        },
      });
      // What cannot be spawned has no pid, and is told as a node that has ended.
      child.on("error", () => undefined);
    } finally {
      await log.close();
    }
    const started = child;
    const ready = await waitFor(
      `${name} is ready`,
      async () => {
        if (hasEnded(started)) return "ended";
        return (await fetch(`${origin}/ready`)).ok && "ready";
      },
      startMilliseconds,
    );
    if (ready === "ended") throw new ConcordatError("node_ended", `${name} did not start: ${await lastLine(logFile)}`);
  };

  const end = async (name: NodeJS.Signals) => {
    const ending = child;
    child = undefined;
    if (ending === undefined || hasEnded(ending)) return;
    const exited = new Promise<void>((resolve) => ending.once("exit", () => resolve()));
    ending.kill(name);
    await exited;
  };

  return {
    name,
    origin,
    host: `127.0.0.1:${port}`,
    directory: own,
    passwordFile,
    admin: createRestClient(
      { origin, fetch, clock: () => new Date() },
      { credentials: { username: "admin", password } },
    ),
    start,
    stop: () => end("SIGTERM"),
    kill: () => end("SIGKILL"),
    killNow: () => void child?.kill("SIGKILL"),
    ended: () =>
      new Promise((resolve) => {
        if (child === undefined || hasEnded(child)) resolve();
        else child.once("exit", () => resolve());
      }),
  };
}

const hasEnded = (child: ChildProcess) =>
  child.pid === undefined || child.exitCode !== null || child.signalCode !== null;

async function lastLine(file: string): Promise<string> {
  const lines = (await readFile(file, "utf8")).trim().split("\n");
  return lines.at(-1) || "it wrote no reason";
}

/** Ports of loopback that are free now, all different. */
export async function findFreePorts(count: number): Promise<readonly number[]> {
  const servers: Server[] = [];
  try {
    for (let at = 0; at < count; at += 1) {
      const server = createServer();
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.listen(0, "127.0.0.1", resolve);
      });
      servers.push(server);
    }
    return servers.map((server) => (server.address() as AddressInfo).port);
  } finally {
    await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  }
}
