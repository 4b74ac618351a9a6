/**
 * `inbox.*`: activities that one node takes in a second, durably, each with its receipt and journal row. Requests of
 * 1 KiB, signed before the clock runs, over 32 connections that are kept. Beside it a bare koa server that checks the
 * same digests and signatures, under the same load in the same run, and what the database commits by itself.
 */
import { createPublicKey } from "node:crypto";
import { type ScriptedPeer, startPeer } from "../test/harness/peer.ts";
import { startChild } from "./child-server.ts";
import { measureCommits } from "./commits.ts";
import { cpuSecondsOf } from "./cpu.ts";
import { type Benchmark, type Figure, figureOf, type Profile } from "./figure.ts";
import type { CeilingKeys } from "./koa-ceiling.ts";
import { measureLoad } from "./load.ts";
import type { Load } from "./load-generator.ts";
import { approveWithoutEnd, startMeasured } from "./nodes.ts";
import { type Signer, writeSigned } from "./signed-requests.ts";

const connections = 32;
const warmUp = 4_000;
const n = 16_000;
const batchSize = 100;

export const activityOf = (peer: ScriptedPeer) => {
  const activity = peer.activity({ type: "Like", object: `${peer.origin}/notes/1`, content: "" });
  return { ...activity, content: "x".repeat(1024 - JSON.stringify(activity).length) };
};

export const signerOf = (peer: ScriptedPeer, key: Signer["key"]): Signer => ({
  actor: peer.actor,
  key,
  privateKey: peer[key],
});

interface Measured {
  /** Activities a second. */
  readonly rate: number;
  /** Processor time of the server for one of them, microseconds. */
  readonly cpu: number;
}

async function measure(load: Load, pids: readonly number[]): Promise<Measured> {
  const seconds = () => pids.reduce((sum, pid) => sum + cpuSecondsOf(pid), 0);
  const before = seconds();
  const rate = await measureLoad(load, 202);
  return { rate, cpu: ((seconds() - before) / load.requests.length) * 1e6 };
}

async function measureCeiling(peer: ScriptedPeer, requests: readonly Uint8Array[]): Promise<Measured> {
  const keys: CeilingKeys = {
    rsa: createPublicKey(peer.rsa).export({ format: "pem", type: "spki" }).toString(),
    ed25519: createPublicKey(peer.ed25519).export({ format: "pem", type: "spki" }).toString(),
  };
  await using koa = await startChild<number>("koa-ceiling", keys);
  return await measure({ ports: [koa.ready], connections, requests, warmUp }, [koa.child.pid ?? Number.NaN]);
}

async function* measureSingles(profile: Profile, key: Signer["key"], processes: number): AsyncIterable<Figure> {
  await using peer = await startPeer();
  await using measured = await startMeasured(profile, processes);
  const { node, ports, pids } = measured;
  await approveWithoutEnd(node, peer);
  const requests: Uint8Array[] = [];
  for (let at = 0; at < warmUp + n; at += 1) {
    requests.push(await writeSigned(`${node.origin}/inbox`, activityOf(peer), signerOf(peer, key)));
  }
  const own = await measure({ ports, connections, requests, warmUp }, pids);
  const ceiling = await measureCeiling(peer, requests);
  const name = `inbox.single.${key}${processes > 1 ? `.processes${processes}` : ""}`;
  const what = "koa, digest and signature alone, one process";
  const common = { profile, n };
  const rate = { value: own.rate, unit: "activities/s", beside: { what, value: ceiling.rate } };
  yield figureOf({ ...common, name, ...rate });
  const cpu = { value: own.cpu, unit: "µs of processor", beside: { what, value: ceiling.cpu } };
  yield figureOf({ ...common, name: `${name}.cpu`, ...cpu });
}

async function* measureBatches(profile: Profile): AsyncIterable<Figure> {
  await using peer = await startPeer();
  await using measured = await startMeasured(profile);
  const { node, ports } = measured;
  await approveWithoutEnd(node, peer);
  const requests: Uint8Array[] = [];
  for (let at = 0; at < (warmUp + n) / batchSize; at += 1) {
    const batch = Array.from({ length: batchSize }, () => activityOf(peer));
    requests.push(await writeSigned(`${node.origin}/batch-inbox`, batch, signerOf(peer, "ed25519")));
  }
  const load = { ports, connections: 4, requests, warmUp: warmUp / batchSize };
  const value = (await measureLoad(load, 200)) * batchSize;
  const commits = await measureCommits(profile, 4_000);
  const beside = { what: "the database's commits of 1 KiB alone", value: commits };
  yield figureOf({ name: "inbox.batch", profile, value, unit: "activities/s", beside, n });
}

async function* measureDatabase(profile: Profile): AsyncIterable<Figure> {
  const value = await measureCommits(profile, 4_000);
  yield figureOf({ name: "database.commits", profile, value, unit: "commits/s", beside: null, n: 4_000 });
}

export const inboxBenchmarks: readonly Benchmark[] = [
  { names: ["database.commits"], run: measureDatabase },
  { names: ["inbox.single.rsa", "inbox.single.rsa.cpu"], run: (profile) => measureSingles(profile, "rsa", 1) },
  {
    names: ["inbox.single.ed25519", "inbox.single.ed25519.cpu"],
    run: (profile) => measureSingles(profile, "ed25519", 1),
  },
  ...(["rsa", "ed25519"] as const).map((key) => ({
    names: [`inbox.single.${key}.processes2`, `inbox.single.${key}.processes2.cpu`],
    profiles: ["server"] as const,
    run: (profile: Profile) => measureSingles(profile, key, 2),
  })),
  { names: ["inbox.batch"], run: measureBatches },
];
