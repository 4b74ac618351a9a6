/** What happens to a node of several processes: they are killed, Redis goes and forgets, PostgreSQL restarts. */
import type { Cluster } from "../harness/cluster.ts";
import { until } from "../harness/until.ts";
import type { World } from "./world.ts";

/** Nothing to a world whose nodes are one process each, nor to a node that is down. */
export async function disturbCluster({ cluster, nodes }: World, random: () => number): Promise<string | undefined> {
  const drawn = random();
  const chosen = random();
  if (cluster === undefined || !nodes[0]?.up) return undefined;
  if (drawn < 0.5) return await endOrStart(cluster, chosen);
  if (drawn < 0.65) {
    cluster.redis.cut();
    return "Redis is away";
  }
  if (drawn < 0.8) {
    cluster.redis.mend();
    return "Redis is there";
  }
  if (drawn < 0.9) {
    await cluster.flushRedis();
    return "Redis has forgotten everything";
  }
  cluster.postgres.cut();
  cluster.postgres.mend();
  await untilServing(cluster);
  return "PostgreSQL was away";
}

/** One web process is left: without one the node is down, which is another step. */
async function endOrStart(cluster: Cluster, chosen: number): Promise<string | undefined> {
  const process = cluster.processes[Math.floor(chosen * cluster.processes.length)];
  if (process === undefined) return undefined;
  if (!process.up) {
    await process.start();
    return `a ${process.role} is back`;
  }
  const others = cluster.processes.filter(({ role, up }) => role === process.role && up).length;
  if (process.role === "web" && others < 2) return undefined;
  await process.kill();
  return `a ${process.role} is killed`;
}

/** Every process up, both stores there. */
export async function mendCluster({ cluster }: World): Promise<void> {
  if (cluster === undefined) return;
  cluster.redis.mend();
  for (const process of cluster.processes) await process.start();
  await untilServing(cluster);
}

async function untilServing({ processes }: Cluster): Promise<void> {
  for (const { address, up } of processes) {
    if (up) await until("it serves again", async () => (await fetch(`${address}/ready`)).ok);
  }
}
