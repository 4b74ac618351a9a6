import * as assert from "uvu/assert";
import { type ClusterProcess, startCluster } from "../harness/cluster.ts";
import { openEventStream } from "../harness/event-stream.ts";
import { makePeers, startNode } from "../harness/node.ts";
import { joinPlatform, sealProject, untilKnown } from "../harness/platform.ts";
import { freshDatabaseUrl, noPostgres, noRedis, redisSettings } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

/** From a share on one node to the event on another, by wakes and signals alone. */
const postgres = (await freshDatabaseUrl()) === undefined ? noPostgres : undefined;
const redis = (await redisSettings()) === undefined ? noRedis : undefined;

const senders = [
  { on: "PGlite", missing: undefined, start: () => startNode({ store: "pglite" }) },
  { on: "PostgreSQL", missing: postgres, start: () => startNode({ store: "postgres" }) },
  { on: "PostgreSQL and Redis", missing: postgres ?? redis, start: startWithOneWorker },
] as const;

/** Two would come by twice as often. */
async function startWithOneWorker() {
  const cluster = await startCluster();
  const [worker] = cluster.processes.filter(({ role }) => role === "worker") as [ClusterProcess];
  await worker.stop();
  return cluster;
}

/** How often a sweep comes by, which finds what no wake has told, milliseconds. */
const sweep = 5_000;

for (const { on, missing, start } of senders) {
  const name = `from share to event on ${on}`;
  const test = missing === undefined ? suite(name) : skipSuite(name, missing);

  test("takes no sweep", async () => {
    await using sender = await start();
    await using receiver = await startNode();
    await makePeers(sender, receiver);
    const owner = await joinPlatform(sender, "owner");
    const grantee = await joinPlatform(receiver, "grantee");
    await untilKnown(owner, grantee);
    await using stream = await openEventStream(receiver.origin, grantee.rest);

    const shares = 5;
    const began = performance.now();
    // Each after the event of the one before, so that no sweep could find two of them.
    for (let at = 1; at <= shares; at += 1) {
      const object = await sealProject(owner, { code: `S${at}`, grants: [{ to: grantee }] });
      await owner.rest.ok("POST", "/projects", { object });
      await until("the event", () => stream.events.some((event) => event.object === object.id));
    }
    const took = performance.now() - began;
    assert.ok(took < ((shares - 1) * sweep) / 2, `${took} ms, where sweeps would take ${(shares - 1) * sweep}`);
  });
  test.run();
}
