/** What happens to a node of several processes: they are killed, its stores end, freeze and forget, links break. */
import type { Cluster, ClusterProcess } from "../harness/cluster.ts";
import { pick, pickWeighted, type Random } from "../harness/random.ts";
import type { OwnServers } from "../harness/servers.ts";
import { pause, until } from "../harness/until.ts";
import type { World } from "./world.ts";

/** A node of several processes with the servers that it has for itself. */
export interface Shared {
  readonly cluster: Cluster;
  readonly servers: OwnServers;
}

/** Says what it did; undefined when there was nothing to do. */
type Disturbance = (shared: Shared, random: Random) => Promise<string | undefined>;

/** One web process is left: without one the node is down, which is another step. */
const endOrStart: Disturbance = async ({ cluster }, random) => {
  const process = pick(random, cluster.processes) as ClusterProcess;
  if (!process.up) {
    await process.start();
    return `a ${process.role} is back`;
  }
  const others = cluster.processes.filter(({ role, up }) => role === process.role && up).length;
  if (process.role === "web" && others < 2) return undefined;
  await process.kill();
  return `a ${process.role} is killed`;
};

const crashRedis: Disturbance = async ({ servers }) => {
  await servers.redis.crash();
  return "Redis is killed";
};

/** Everything about Redis is as it should be again. */
const mendRedis: Disturbance = async ({ cluster, servers }) => {
  await servers.redis.start();
  cluster.redis.mend();
  cluster.redis.thaw();
  return "Redis is there";
};

const flushRedis: Disturbance = async ({ cluster, servers }) => {
  await servers.redis.start();
  await cluster.flushRedis();
  return "Redis has forgotten everything";
};

const freezeRedis: Disturbance = async ({ cluster }) => {
  cluster.redis.freeze();
  return "Redis is frozen";
};

const loseRedis: Disturbance = async ({ cluster }, random) => {
  const process = pick(random, cluster.processes) as ClusterProcess;
  process.redis.cut();
  return `a ${process.role} does not reach Redis`;
};

/** Walkers wait for PostgreSQL: whatever happens to it is over when the step is. */
const endPostgres =
  (how: "stop" | "crash"): Disturbance =>
  async ({ cluster, servers }) => {
    await servers.postgres[how]();
    await servers.postgres.start();
    await untilServing(cluster);
    return `${how} and start of PostgreSQL`;
  };

/** Longer than a statement may take, milliseconds. */
const longestFreeze = 9_000;

const freezePostgres: Disturbance = async ({ cluster }, random) => {
  const milliseconds = Math.floor(random() * longestFreeze);
  const frozen = random() < 0.5 ? cluster : (pick(random, cluster.processes) as ClusterProcess);
  frozen.postgres.freeze();
  await pause(milliseconds);
  frozen.postgres.thaw();
  await untilServing(cluster);
  return `PostgreSQL froze for ${milliseconds} ms${frozen === cluster ? "" : " for one process"}`;
};

const losePostgres: Disturbance = async ({ cluster }, random) => {
  const process = pick(random, cluster.processes) as ClusterProcess;
  process.postgres.cut();
  await pause(Math.floor(random() * 1_000));
  process.postgres.mend();
  await untilServing(cluster);
  return `a ${process.role} did not reach PostgreSQL`;
};

/** How often each comes, of all together. */
const chances: readonly (readonly [number, Disturbance])[] = [
  [40, endOrStart],
  [6, crashRedis],
  [14, mendRedis],
  [6, flushRedis],
  [4, freezeRedis],
  [6, loseRedis],
  [6, endPostgres("stop")],
  [8, endPostgres("crash")],
  [5, freezePostgres],
  [5, losePostgres],
];

/** Nothing to a world whose nodes are one process each, nor to a node that is down. */
export async function disturbCluster({ shared, nodes }: World, random: Random): Promise<string | undefined> {
  if (shared === undefined || !nodes[0]?.up) return undefined;
  return await pickWeighted(random, chances)(shared, random);
}

/** Ends what a write of the shared node needs, while it is written, and brings it back. */
export async function crashUnderWrite({ servers }: Shared, random: Random): Promise<string> {
  const which = random() < 0.7 ? "postgres" : "redis";
  await servers[which].crash();
  await servers[which].start();
  return `${which} crashed`;
}

/** Both stores there, every process up. */
export async function mendCluster({ shared }: World, random: Random): Promise<void> {
  if (shared === undefined) return;
  await mendRedis(shared, random);
  for (const process of shared.cluster.processes) await process.start();
  await untilServing(shared.cluster);
}

async function untilServing({ processes }: Cluster): Promise<void> {
  for (const { address, up } of processes) {
    if (up) await until("it serves again", async () => (await fetch(`${address}/ready`)).ok);
  }
}
