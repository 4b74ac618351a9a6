import * as assert from "uvu/assert";
import { readConfig } from "../../src/config.ts";
import { createNode, type Node } from "../../src/node.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { settle, startNode } from "../harness/node.ts";
import { approveScripted, introduceScripted, startPeer } from "../harness/peer.ts";
import { joinPlatform, sealProject, untilKnown } from "../harness/platform.ts";
import type { Json } from "../harness/rest.ts";
import { freshDatabaseUrl, noPostgres, noRedis, redisSettings } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";
import { pause, until } from "../harness/until.ts";

/** Who drains a lane among processes that come and go: the claim is in the database (docs/operations.md). */
const redis = await redisSettings();
const missing = (await freshDatabaseUrl()) === undefined ? noPostgres : redis === undefined ? noRedis : undefined;
const name = "the lease of a lane among several processes";
const test = missing === undefined ? suite(name) : skipSuite(name, missing);

test("is left to its holder by a worker that starts meanwhile", async () => {
  const nodes: Node[] = [];
  let start: (role: "web" | "worker", listen?: string) => Promise<void> = async () => {};
  await using node = await startNode({
    store: "postgres",
    environment: { CONCORDAT_REDIS_URL: redis?.url ?? "", CONCORDAT_REDIS_PREFIX: `${redis?.prefix}lease:` },
    async open({ environment, dataDir }) {
      start = async (role, listen = "127.0.0.1:0") => {
        const settings = { ...environment, CONCORDAT_ROLE: role, CONCORDAT_LISTEN: listen };
        nodes.push(await createNode(readConfig(settings, { cwd: dataDir }), { log: createLog({ level: "silent" }) }));
      };
      await start("web", environment.CONCORDAT_LISTEN);
      await start("worker");
      const stop = async () => void (await Promise.all(nodes.splice(0).map((one) => one.close())));
      return { stop, kill: stop };
    },
  });
  await using peer = await startPeer();
  await approveScripted(node, peer);
  const owner = await joinPlatform(node, "owner");
  const grantee = await introduceScripted(node, peer, "grantee");
  await untilKnown(owner, grantee);
  await settle(node);

  const object = await sealProject(owner, { code: "SLOW", grants: [{ to: grantee }] });
  const arrivals = () =>
    peer.arrivals.filter(({ activity }) => (activity.object as Json | undefined)?.id === object.id);
  const readLease = async () => (await node.query("select locked_by, locked_until from lanes"))[0] as Json;
  let release = () => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  peer.answerWith(async ({ activity }) => {
    await released;
    return { status: 202, body: { receipt: await peer.receiptFor(activity, node.origin) } };
  });
  await owner.rest.ok("POST", "/projects", { object });
  await until("the request is under way", () => arrivals().length === 1);
  const held = await readLease();
  // So long that who looks for what is due drains it himself.
  await pause(1_200);
  await start("worker");
  const { locked_until: before } = await readLease();
  await until("it was renewed", async () => Number((await readLease()).locked_until) > Number(before));
  assert.is((await readLease()).locked_by, held.locked_by);
  release();
  await settle(node);
  assert.is(arrivals().length, 1);
});

test.run();
