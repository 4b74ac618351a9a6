/** Nodes to measure: in processes of their own, as an operator runs them, with a scripted peer that may send without end. */
import { join } from "node:path";
import { freePort } from "../test/harness/free-port.ts";
import { findPeer, openProcess, type Running, startNode, type TestNode } from "../test/harness/node.ts";
import { approveScripted, type ScriptedPeer } from "../test/harness/peer.ts";
import { redisSettings } from "../test/harness/servers.ts";
import { type Profile, storeOf } from "./figure.ts";

export interface MeasuredNode extends AsyncDisposable {
  readonly node: TestNode;
  /** Where its processes listen. */
  readonly ports: readonly number[];
  readonly pids: readonly number[];
  /** When all of them had said that they were ready, as `performance.now()` tells it. */
  readonly readyAt: () => number;
}

/** Where each measured process is to leave a CPU profile. */
const profileFolder = process.env.BENCH_CPU_PROFILE;

/** @param processes more than one only on the server profile */
export async function startMeasured(profile: Profile, processes = 1): Promise<MeasuredNode> {
  const redis = profile === "server" ? await redisSettings() : undefined;
  const ports: number[] = [];
  const pids: number[] = [];
  let readyAt = Number.NaN;
  const node = await startNode({
    store: storeOf[profile],
    ...(profileFolder === undefined ? {} : { program: join(import.meta.dirname, "profiled-node.js") }),
    environment: {
      CONCORDAT_LOG_LEVEL: "warn",
      ...(profileFolder === undefined ? {} : { BENCH_CPU_PROFILE: profileFolder }),
      ...(redis === undefined
        ? {}
        : { CONCORDAT_REDIS_URL: redis.url, CONCORDAT_REDIS_PREFIX: `${redis.prefix}bench${await freePort()}:` }),
    },
    async open(base) {
      const running: Running[] = [];
      ports.length = 0;
      pids.length = 0;
      for (let number = 0; number < processes; number += 1) {
        const port = number === 0 ? Number(new URL(base.origin).port) : await freePort();
        const environment = { ...base.environment, CONCORDAT_LISTEN: `127.0.0.1:${port}` };
        const process = await openProcess({ ...base, environment }, `http://127.0.0.1:${port}`);
        running.push(process);
        ports.push(port);
        pids.push(process.pid ?? Number.NaN);
      }
      readyAt = performance.now();
      const all = (verb: "stop" | "kill") => async () => {
        await Promise.all(running.map((process) => process[verb]()));
      };
      return { stop: all("stop"), kill: all("kill") };
    },
  });
  return { node, ports, pids, readyAt: () => readyAt, [Symbol.asyncDispose]: () => node[Symbol.asyncDispose]() };
}

/** Approves the scripted peer; its quota is counted, and never used up. */
export async function approveWithoutEnd(node: TestNode, peer: ScriptedPeer): Promise<void> {
  await approveScripted(node, peer);
  const { id } = (await findPeer(node, peer.origin)) ?? {};
  await node.admin.ok("PATCH", `/peers/${String(id)}`, { policy: { per_minute: 1e9, per_day: 1e9 } });
}
