/** A node on the server profile: two web and two worker processes, a balancer before them, links to both stores. */
import { connect, createServer, type Server } from "node:net";
import { freePort } from "./free-port.ts";
import { type Base, openProcess, type Running, startNode, type TestNode } from "./node.ts";
import { deleteRedisKeys } from "./redis-wire.ts";
import { freshDatabaseUrl, redisSettings } from "./servers.ts";
import { startTcpProxy, type TcpProxy } from "./tcp-proxy.ts";

export interface ClusterProcess {
  readonly role: "web" | "worker";
  readonly address: string;
  readonly up: boolean;
  kill(): Promise<void>;
  stop(): Promise<void>;
  start(): Promise<void>;
}

export interface Cluster extends TestNode {
  readonly processes: readonly ClusterProcess[];
  readonly redis: TcpProxy;
  readonly postgres: TcpProxy;
  /** What every key of the node in Redis begins with. */
  readonly redisPrefix: string;
  /** Redis loses all that it holds of the node. */
  flushRedis(): Promise<void>;
}

/** @throws without PostgreSQL or Redis: skip the suite */
export async function startCluster({ program }: { readonly program?: string } = {}): Promise<Cluster> {
  const databaseUrl = await freshDatabaseUrl();
  const shared = await redisSettings();
  if (databaseUrl === undefined || shared === undefined) throw new Error("a cluster needs PostgreSQL and Redis");
  const postgres = await startTcpProxy(new URL(databaseUrl), 5432);
  const redis = await startTcpProxy(new URL(shared.url), 6379);
  const redisPrefix = `${shared.prefix}cluster${await freePort()}:`;
  let processes: readonly Slot[] = [];
  const node = await startNode({
    store: "postgres",
    databaseUrl,
    ...(program === undefined ? {} : { program }),
    environment: {
      CONCORDAT_DATABASE_URL: postgres.url,
      CONCORDAT_REDIS_URL: redis.url,
      CONCORDAT_REDIS_PREFIX: redisPrefix,
    },
    async open(base) {
      processes = await Promise.all(
        (["web", "web", "worker", "worker"] as const).map((role) => createSlot(base, role)),
      );
      const balancer = await startBalancer(base.origin, processes);
      // The first makes what all of them share: keys and administrator.
      for (const process of processes) await process.start();
      const all = (verb: "stop" | "kill") => async () => {
        await Promise.all(processes.map((process) => process[verb]()));
        await new Promise((resolve) => balancer.close(resolve));
      };
      return { stop: all("stop"), kill: all("kill") };
    },
  });
  const dispose = node[Symbol.asyncDispose];
  return Object.defineProperties(node, {
    processes: { get: () => processes },
    redis: { value: redis },
    postgres: { value: postgres },
    redisPrefix: { value: redisPrefix },
    flushRedis: { value: () => deleteRedisKeys(shared.url, redisPrefix) },
    [Symbol.asyncDispose]: {
      async value() {
        await dispose();
        await Promise.all([redis[Symbol.asyncDispose](), postgres[Symbol.asyncDispose]()]);
      },
    },
  }) as Cluster;
}

interface Slot extends ClusterProcess {
  readonly port: number;
}

async function createSlot(base: Base, role: "web" | "worker"): Promise<Slot> {
  const port = await freePort();
  const address = `http://127.0.0.1:${port}`;
  const environment = { ...base.environment, CONCORDAT_ROLE: role, CONCORDAT_LISTEN: `127.0.0.1:${port}` };
  let running: Running | undefined;
  const end = (verb: "stop" | "kill") => async () => {
    const before = running;
    running = undefined;
    await before?.[verb]();
  };
  return {
    role,
    port,
    address,
    get up() {
      return running !== undefined;
    },
    kill: end("kill"),
    stop: end("stop"),
    async start() {
      running ??= await openProcess({ ...base, environment }, address);
    },
  };
}

/** Hands each connection to the next web process that is up, as a reverse proxy would. */
async function startBalancer(origin: string, processes: readonly Slot[]): Promise<Server> {
  let turn = 0;
  const server = createServer((near) => {
    const web = processes.filter(({ role, up }) => role === "web" && up);
    const next = web[turn++ % web.length];
    if (next === undefined) {
      near.destroy();
      return;
    }
    const far = connect(next.port, "127.0.0.1");
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on("error", () => {});
      // What is left of the other side is not read any more once this one is gone, so it would never end by itself.
      from.on("close", () => to.destroy());
      from.pipe(to);
    }
  });
  await new Promise<void>((resolve) => server.listen(Number(new URL(origin).port), "127.0.0.1", resolve));
  return server;
}
