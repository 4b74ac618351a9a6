import * as assert from "uvu/assert";
import { openRedis } from "../../src/storage/redis.ts";
import { createRedisSignals } from "../../src/storage/signals-redis.ts";
import { describeSignals } from "../conformance/signals.ts";
import { quiet } from "../harness/redis-quiet.ts";
import { noRedis, redisSettings } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";
import { startTcpProxy } from "../harness/tcp-proxy.ts";
import { pause, until } from "../harness/until.ts";

const redis = await redisSettings();
const test = redis === undefined ? skipSuite("signals on Redis", noRedis) : suite("signals on Redis");
const { url, prefix } = redis ?? { url: "", prefix: "" };

async function openSignals(at = url) {
  const connection = await openRedis(at, quiet);
  const signals = createRedisSignals(connection, { prefix });
  return {
    ...signals,
    async [Symbol.asyncDispose]() {
      await signals[Symbol.asyncDispose]();
      await connection[Symbol.asyncDispose]();
    },
  };
}

describeSignals(test, () => openSignals());

test("tells other processes, and them again after a cut: something may have been missed", async () => {
  await using proxy = await startTcpProxy(new URL(url), 6379);
  await using sender = await openSignals();
  await using listener = await openSignals(proxy.url);
  let heard = 0;
  listener.listen("a", () => {
    heard += 1;
  });
  await until("a signal from the other process", async () => {
    sender.send("a");
    await pause(50);
    return heard > 0;
  });
  proxy.cut();
  heard = 0;
  await until("a look without being told", async () => heard > 0);
  proxy.mend();
  await until("signals after the mend", async () => {
    heard = 0;
    sender.send("a");
    await pause(50);
    return heard > 0;
  });
  assert.ok(heard > 0);
});

test.run();
