import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import { promisify } from "node:util";
import pg from "pg";
import { readConfig } from "../../src/config.ts";
import { createNode } from "../../src/node.ts";
import { openPglite } from "../../src/storage/pglite.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { freePort } from "./free-port.ts";
import { createRest, type Json, logIn, type Rest } from "./rest.ts";
import { freshDatabaseUrl } from "./servers.ts";
import { until } from "./until.ts";

/** A node of a test: in this process, or as `concordat serve` in one of its own, with stores that nobody else has. */
export interface TestNode extends AsyncDisposable {
  readonly origin: string;
  readonly store: Store;
  readonly dataDir: string;
  readonly databaseUrl: string | undefined;
  /** The administrator, logged in; a new token after each start. */
  readonly admin: Rest;
  /** Everything that the node has logged or printed, over all its starts. */
  readonly log: () => string;
  /** Stops it in order; its stores stay. */
  stop(): Promise<void>;
  /** Starts it again on the same origin and stores. */
  start(): Promise<void>;
  /** Ends a child process at once, by SIGKILL. */
  kill(): Promise<void>;
  /** Runs a command of the program with the node's settings, to its end; gives what it printed. */
  command(...argv: readonly string[]): Promise<string>;
  /** Reads the node's database: while it runs only on PostgreSQL, stopped also on PGlite. */
  query(text: string): Promise<Json[]>;
  /** Every table with its rows as JSON texts, in order. */
  dump(except?: readonly string[]): Promise<Record<string, string[]>>;
}

export type Store = "pglite" | "postgres";

export interface NodeOptions {
  readonly store?: Store;
  /** A PostgreSQL database that was made for it. */
  readonly databaseUrl?: string;
  /** In a process of its own; killing needs this. */
  readonly child?: boolean;
  /** Compiled `main.js` of a process of its own: this build's when absent. */
  readonly program?: string;
  readonly clock?: () => Date;
  /** Starts it in another way than as one process. */
  readonly open?: (base: Base) => Promise<Running>;
  /** Settings besides those that the harness makes. */
  readonly environment?: Readonly<Record<string, string>>;
}

const password = "not-a-secret-in-a-test";

/** Starts a node on a free port of loopback. @throws without PostgreSQL when the store is PostgreSQL */
export async function startNode(options: NodeOptions = {}): Promise<TestNode> {
  const { store = "pglite" } = options;
  const databaseUrl = options.databaseUrl ?? (store === "postgres" ? await freshDatabaseUrl() : undefined);
  if (store === "postgres" && databaseUrl === undefined) throw new Error("the test needs PostgreSQL: skip its suite");
  const dataDir = await mkdtemp(join(tmpdir(), "concordat-node-"));
  const port = await freePort();
  const origin = `http://127.0.0.1:${port}`;
  const text: string[] = [];
  const environment = {
    CONCORDAT_ORIGIN: origin,
    CONCORDAT_LISTEN: `127.0.0.1:${port}`,
    CONCORDAT_DATA_DIR: dataDir,
    CONCORDAT_ADMIN_PASSWORD: password,
    CONCORDAT_ALLOW_PRIVATE_ADDRESSES: "true",
    CONCORDAT_LOG_LEVEL: "debug",
    // Short enough that a test sees several attempts.
    CONCORDAT_DELIVERY_RETRY_BASE_MS: "40",
    CONCORDAT_DELIVERY_RETRY_CAP_MS: "400",
    ...(databaseUrl === undefined ? {} : { CONCORDAT_DATABASE_URL: databaseUrl }),
    ...options.environment,
  };
  const { clock, program = join(import.meta.dirname, "..", "..", "src", "main.js") } = options;
  const base = { origin, dataDir, text, environment, clock, program };
  const open = () => (options.open ?? (options.child === true ? openChild : openInside))(base);
  let running: Running | undefined;
  let admin = createRest(origin);

  const start = async () => {
    running = await open();
    admin = await logIn(origin, "admin", password);
  };
  const stop = async () => {
    const before = running;
    running = undefined;
    await before?.stop();
  };
  // One reader for all queries: connecting takes longer than asking.
  let reader: pg.Client | undefined;
  const query = async (statement: string): Promise<Json[]> => {
    if (databaseUrl === undefined) {
      if (running !== undefined) throw new Error("stop the node before reading PGlite");
      const database = await openPglite(join(dataDir, "database"));
      try {
        return ((await database.db.execute(statement)) as unknown as { rows: Json[] }).rows;
      } finally {
        await database.close();
      }
    }
    if (reader === undefined) {
      reader = new pg.Client({ connectionString: databaseUrl });
      // Its server may be restarted in the meantime.
      reader.on("error", () => {
        reader = undefined;
      });
      await reader.connect();
    }
    return (await reader.query(statement)).rows;
  };

  try {
    await start();
  } catch (error) {
    await rm(dataDir, { recursive: true, force: true });
    throw new Error(`the node did not start:\n${text.join("")}`, { cause: error });
  }
  return {
    origin,
    store,
    dataDir,
    databaseUrl,
    get admin() {
      return admin;
    },
    log: () => text.join(""),
    start,
    stop,
    async kill() {
      const before = running;
      running = undefined;
      await before?.kill();
    },
    async command(...argv) {
      return (await promisify(execFile)(process.execPath, [program, ...argv], childOptions(base))).stdout;
    },
    query,
    async dump(except = []) {
      const names = "select table_name from information_schema.tables where table_schema = 'public'";
      const tables = (await query(names)).map(({ table_name: name }) => String(name));
      const parts = tables
        .filter((name) => !except.includes(name))
        .map((name) => `select '${name}' as name, row_to_json(t)::text as row from "${name}" t`);
      const dumped: Record<string, string[]> = {};
      for (const { name, row } of await query(parts.join(" union all "))) {
        dumped[String(name)] = [...(dumped[String(name)] ?? []), String(row)];
      }
      for (const rows of Object.values(dumped)) rows.sort();
      return dumped;
    },
    async [Symbol.asyncDispose]() {
      await stop();
      await reader?.end();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

export interface Base {
  readonly environment: Readonly<Record<string, string>>;
  readonly origin: string;
  readonly dataDir: string;
  readonly text: string[];
  readonly clock: (() => Date) | undefined;
  readonly program: string;
}

export interface Running {
  /** Of a process of its own. */
  readonly pid?: number | undefined;
  stop(): Promise<void>;
  kill(): Promise<void>;
}

async function openInside({ environment, dataDir, text, clock }: Base): Promise<Running> {
  const config = readConfig(environment, { cwd: dataDir });
  const stream = new Writable({
    write(line, _encoding, done) {
      text.push(String(line));
      done();
    },
  });
  const log = createLog({ level: config.logLevel, stream });
  const node = await createNode(config, { log, ...(clock === undefined ? {} : { clock }) });
  return {
    stop: () => node.close(),
    kill: () => Promise.reject(new Error("only a child process can be killed")),
  };
}

/** In a working directory of its own: a `.env` of whoever runs the tests is none of the node's business. */
const childOptions = ({ environment, dataDir }: Base) => ({
  cwd: dataDir,
  env: { PATH: process.env.PATH ?? "", HOME: dataDir, ...environment },
});

const openChild = (base: Base): Promise<Running> => openProcess(base, base.origin);

/** A process of the node, which is ready when it says so at `address`. */
export async function openProcess(base: Base, address: string): Promise<Running> {
  const { text } = base;
  const child = spawn(process.execPath, [base.program, "serve"], {
    ...childOptions(base),
    stdio: ["ignore", "pipe", "pipe"],
  });
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (octets) => text.push(String(octets)));
  // A test that ends early leaves nothing behind.
  const abandon = () => void child.kill("SIGKILL");
  process.once("exit", abandon);
  child.once("exit", () => process.off("exit", abandon));
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const signal = async (name: NodeJS.Signals) => {
    if (!hasEnded(child)) child.kill(name);
    await ended;
  };
  try {
    await until(
      "the child process is ready",
      async () => {
        if (hasEnded(child)) return "ended";
        return (await fetch(`${address}/ready`)).ok && "ready";
      },
      120_000,
    );
    if (hasEnded(child)) throw new Error(`the node ended with ${child.exitCode ?? child.signalCode}`);
  } catch (error) {
    await signal("SIGKILL");
    throw error;
  }
  return { pid: child.pid, stop: () => signal("SIGTERM"), kill: () => signal("SIGKILL") };
}

const hasEnded = (child: ChildProcess) => child.exitCode !== null || child.signalCode !== null;

/** Makes two nodes peers of each other: `asking` requests, `asked` opens and approves. */
export async function makePeers(asking: TestNode, asked: TestNode): Promise<void> {
  await asking.admin.ok("POST", "/peers", { origin: asked.origin });
  const pending = await until("the request arrives", async () => {
    const peer = await findPeer(asked, asking.origin);
    return peer?.state === "pending_in" ? peer : null;
  });
  await asked.admin.ok("POST", `/peers/${String(pending.id)}/open`, {});
  await asked.admin.ok("POST", `/peers/${String(pending.id)}/approve`, {});
  await until("the acceptance arrives", async () => (await findPeer(asking, asked.origin))?.state === "approved");
}

/** The peer of an origin, as the administrator of `node` sees it. */
export async function findPeer(node: TestNode, origin: string): Promise<Json | undefined> {
  return (await node.admin.list(`/peers?origin=${encodeURIComponent(origin)}`))[0];
}

/** Waits until nothing of `nodes` waits to be delivered. */
export async function settle(...nodes: readonly TestNode[]): Promise<void> {
  for (const node of nodes) {
    await until(
      `${node.origin} has delivered everything`,
      async () => {
        return (await node.admin.list("/deliveries?state=queued")).length === 0;
      },
      120_000,
    );
  }
}
