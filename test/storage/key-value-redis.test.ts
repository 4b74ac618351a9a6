import * as assert from "uvu/assert";
import { createRedisKeyValue } from "../../src/storage/key-value-redis.ts";
import { openRedis } from "../../src/storage/redis.ts";
import { describeKeyValue } from "../conformance/key-value.ts";
import { quiet } from "../harness/redis-quiet.ts";
import { noRedis, redisSettings } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";
import { startTcpProxy } from "../harness/tcp-proxy.ts";
import { until } from "../harness/until.ts";

const redis = await redisSettings();
const test = redis === undefined ? skipSuite("key-value on Redis", noRedis) : suite("key-value on Redis");
const { url, prefix } = redis ?? { url: "", prefix: "" };

const clock = () => new Date();
let stores = 0;

async function openStore(at: string, below = `${prefix}${stores++}:`) {
  const connection = await openRedis(at, quiet);
  const store = createRedisKeyValue(connection, { clock, prefix: below });
  return {
    ...store,
    connection,
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]();
      await connection[Symbol.asyncDispose]();
    },
  };
}

describeKeyValue(test, {
  open: () => openStore(url),
  // Redis has a clock of its own.
  advance: (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds)),
});

test("shares counts between processes", async () => {
  await using one = await openStore(url, `${prefix}shared:`);
  await using other = await openStore(url, `${prefix}shared:`);
  assert.is(await one.increment("n", 5_000), 1);
  assert.is(await other.increment("n", 5_000), 2);
});

test("counts by itself at once while Redis is away or silent, and shares again afterwards", async () => {
  await using proxy = await startTcpProxy(new URL(url), 6379);
  await using store = await openStore(proxy.url);
  assert.is(await store.increment("n", 60_000), 1);
  proxy.cut();
  await until("the loss to be seen", async () => !store.connection.isReady());
  assert.is(await store.increment("n", 60_000), 1);
  assert.is(await store.increment("n", 60_000), 2);
  proxy.mend();
  await until("Redis to be back", async () => store.connection.isReady());
  assert.is(await store.increment("n", 60_000), 2);
  proxy.freeze();
  assert.is(await store.increment("n", 60_000), 3);
});

test("opens without a Redis that answers", async () => {
  await using store = await openStore("redis://127.0.0.1:1");
  assert.is(store.connection.isReady(), false);
  assert.is(await store.increment("n", 60_000), 1);
});

test.run();
