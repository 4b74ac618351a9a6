/**
 * A node on the server profile: two web and two worker processes, a balancer before them, and from each process a link of
 * its own to either store.
 */
import { connect, createServer, type Server } from "node:net";
import { freePort } from "./free-port.ts";
import { type Base, openProcess, type Running, startNode, type TestNode } from "./node.ts";
import { deleteRedisKeys } from "./redis-wire.ts";
import { freshDatabaseUrl, type OwnServers, redisSettings } from "./servers.ts";
import { startTcpProxy, type TcpProxy } from "./tcp-proxy.ts";

export interface ClusterProcess {
  readonly role: "web" | "worker";
  readonly address: string;
  /** A metric of the process, without labels; undefined where it does not tell it. */
  measure(name: string): Promise<number | undefined>;
  readonly up: boolean;
  readonly postgres: Link;
  readonly redis: Link;
  kill(): Promise<void>;
  stop(): Promise<void>;
  start(): Promise<void>;
}

export type Link = Pick<TcpProxy, "freeze" | "thaw" | "cut" | "mend">;

export interface Cluster extends TestNode {
  readonly processes: readonly ClusterProcess[];
  /** The links of all processes. */
  readonly redis: Link;
  readonly postgres: Link;
  /** What every key of the node in Redis begins with. */
  readonly redisPrefix: string;
  /** Redis loses all that it holds of the node. */
  flushRedis(): Promise<void>;
}

export interface ClusterOptions {
  readonly program?: string;
  /** Instead of those that all tests share. */
  readonly servers?: OwnServers;
}

/** @throws without PostgreSQL or Redis: skip the suite */
export async function startCluster({ program, servers }: ClusterOptions = {}): Promise<Cluster> {
  const databaseUrl = servers?.postgres.url ?? (await freshDatabaseUrl());
  const redis = servers === undefined ? await redisSettings() : { url: servers.redis.url, prefix: "" };
  if (databaseUrl === undefined || redis === undefined) throw new Error("a cluster needs PostgreSQL and Redis");
  const redisPrefix = `${redis.prefix}cluster${await freePort()}:`;
  const links: Links[] = [];
  let processes: readonly Slot[] = [];
  const node = await startNode({
    store: "postgres",
    databaseUrl,
    ...(program === undefined ? {} : { program }),
    environment: { CONCORDAT_REDIS_URL: redis.url, CONCORDAT_REDIS_PREFIX: redisPrefix },
    async open(base) {
      if (links.length === 0) {
        for (const _role of roles) links.push(await startLinks(databaseUrl, redis.url));
      }
      processes = await Promise.all(roles.map((role, at) => createSlot(base, role, links[at] as Links)));
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
    redis: { value: linkOf(links.map((one) => one.redis)) },
    postgres: { value: linkOf(links.map((one) => one.postgres)) },
    redisPrefix: { value: redisPrefix },
    flushRedis: { value: () => deleteRedisKeys(redis.url, redisPrefix) },
    [Symbol.asyncDispose]: {
      async value() {
        await dispose();
        const proxies = links.flatMap((one) => [one.postgres, one.redis]);
        await Promise.all(proxies.map((proxy) => proxy[Symbol.asyncDispose]()));
      },
    },
  }) as Cluster;
}

const roles = ["web", "web", "worker", "worker"] as const;

/** Of one process, for as long as the cluster lives. */
interface Links {
  readonly postgres: TcpProxy;
  readonly redis: TcpProxy;
}

async function startLinks(databaseUrl: string, redisUrl: string): Promise<Links> {
  return {
    postgres: await startTcpProxy(new URL(databaseUrl), 5432),
    redis: await startTcpProxy(new URL(redisUrl), 6379),
  };
}

function linkOf(links: readonly Link[]): Link {
  const all = (verb: keyof Link) => () => {
    for (const link of links) link[verb]();
  };
  return { freeze: all("freeze"), thaw: all("thaw"), cut: all("cut"), mend: all("mend") };
}

interface Slot extends ClusterProcess {
  readonly port: number;
}

async function createSlot(base: Base, role: "web" | "worker", links: Links): Promise<Slot> {
  const [port, metrics] = [await freePort(), await freePort()];
  const address = `http://127.0.0.1:${port}`;
  const environment = {
    ...base.environment,
    CONCORDAT_ROLE: role,
    CONCORDAT_LISTEN: `127.0.0.1:${port}`,
    CONCORDAT_METRICS_PORT: String(metrics),
    CONCORDAT_DATABASE_URL: links.postgres.url,
    CONCORDAT_REDIS_URL: links.redis.url,
  };
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
    ...links,
    async measure(name) {
      const measured = await (await fetch(`http://127.0.0.1:${metrics}/metrics`)).text();
      const value = new RegExp(`^${name} (\\S+)$`, "m").exec(measured)?.[1];
      return value === undefined ? undefined : Number(value);
    },
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
