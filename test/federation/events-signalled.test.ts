import * as assert from "uvu/assert";
import { readConfig } from "../../src/config.ts";
import { createNode, type Node } from "../../src/node.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { openEventStream } from "../harness/event-stream.ts";
import { startNode } from "../harness/node.ts";
import { joinPlatform, sealProject } from "../harness/platform.ts";
import { createRest } from "../harness/rest.ts";
import { freshDatabaseUrl, noPostgres, noRedis, redisSettings } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

/** Events are told when they are committed: nobody looks by himself here. */
const hasPostgres = (await freshDatabaseUrl()) !== undefined;
const redis = await redisSettings();
const never = 2 ** 31 - 1;
/** A stream that was silent for 15 s looks by itself: what has come before that was signalled, milliseconds. */
const patience = 12_000;

for (const webs of [1, 2]) {
  const name = `events of ${webs === 1 ? "a process" : "two web processes"} that nobody looks for`;
  const missing = webs === 1 ? undefined : !hasPostgres ? noPostgres : redis === undefined ? noRedis : undefined;
  const test = missing === undefined ? suite(name) : skipSuite(name, missing);

  test("come by the signal of what was committed", async () => {
    const nodes: Node[] = [];
    const shared = {
      CONCORDAT_ROLE: "web",
      CONCORDAT_REDIS_URL: redis?.url ?? "",
      CONCORDAT_REDIS_PREFIX: `${redis?.prefix}signalled:`,
    };
    await using node = await startNode({
      store: webs === 1 ? "pglite" : "postgres",
      environment: webs === 1 ? {} : shared,
      async open({ environment, dataDir }) {
        for (const listen of [environment.CONCORDAT_LISTEN, "127.0.0.1:0"].slice(0, webs)) {
          const config = readConfig({ ...environment, CONCORDAT_LISTEN: listen }, { cwd: dataDir });
          nodes.push(await createNode(config, { log: createLog({ level: "silent" }), lookEvery: never }));
        }
        const stop = async () => void (await Promise.all(nodes.splice(0).map((one) => one.close())));
        return { stop, kill: stop };
      },
    });
    const owner = await joinPlatform(node, "owner");
    const grantee = await joinPlatform(node, "grantee");
    const [here, there] = [nodes[0], nodes.at(-1)].map((one) => `http://127.0.0.1:${one?.address.port}`);
    const rest = createRest(String(there), owner.rest.token);

    await using stream = await openEventStream(String(here), grantee.rest);
    // The first may still be found by the look with which a stream begins.
    for (const [at, code] of ["FIRST", "SECOND"].entries()) {
      const object = await sealProject(owner, { code, grants: [{ to: grantee }] });
      await rest.ok("POST", "/projects", { object });
      await until("the event", () => stream.events.length > at, patience);
      assert.is(stream.events.at(-1)?.object, object.id);
    }
  });
  test.run();
}
