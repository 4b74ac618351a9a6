/**
 * `memory.*`: resident memory of a node after many activities in its inbox, beside what it was after the first of them.
 * `BENCH_ACTIVITIES` says how many.
 */
import { startPeer } from "../test/harness/peer.ts";
import { residentMegabytesOf } from "./cpu.ts";
import { type Benchmark, type Figure, figureOf, type Profile } from "./figure.ts";
import { activityOf, signerOf } from "./inbox.ts";
import { measureLoad } from "./load.ts";
import { approveWithoutEnd, startMeasured } from "./nodes.ts";
import { writeSigned } from "./signed-requests.ts";

const n = Number(process.env.BENCH_ACTIVITIES ?? 20_000);
const connections = 32;
const chunk = 4_000;

async function* measureMemory(profile: Profile): AsyncIterable<Figure> {
  await using peer = await startPeer();
  await using measured = await startMeasured(profile);
  const { node, ports, pids } = measured;
  await approveWithoutEnd(node, peer);
  let first = Number.NaN;
  for (let sent = 0; sent < n; sent += chunk) {
    const requests: Uint8Array[] = [];
    for (let at = 0; at < chunk; at += 1) {
      requests.push(await writeSigned(`${node.origin}/inbox`, activityOf(peer), signerOf(peer, "ed25519")));
    }
    await measureLoad({ ports, connections, requests, warmUp: 0 }, 202);
    if (sent === 0) first = residentMegabytesOf(pids[0] ?? Number.NaN);
  }
  const value = residentMegabytesOf(pids[0] ?? Number.NaN);
  const beside = { what: `MB after the first ${chunk}`, value: first };
  yield figureOf({ name: `memory.${profile}`, profile, value, unit: "MB", beside, n });
}

export const memoryBenchmarks: readonly Benchmark[] = [
  { names: ["memory.embedded"], profiles: ["embedded"], run: measureMemory },
  { names: ["memory.server"], profiles: ["server"], run: measureMemory },
];
