import { Queue } from "bullmq";
import * as assert from "uvu/assert";
import { openRedis } from "../../src/storage/redis.ts";
import type { Scheduler } from "../../src/storage/scheduler.ts";
import { createBullmqScheduler } from "../../src/storage/scheduler-bullmq.ts";
import { describeScheduler } from "../conformance/scheduler.ts";
import { quiet } from "../harness/redis-quiet.ts";
import { noRedis, redisSettings } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";
import { startTcpProxy } from "../harness/tcp-proxy.ts";
import { pause, until } from "../harness/until.ts";

const redis = await redisSettings();
const test = redis === undefined ? skipSuite("scheduler on BullMQ", noRedis) : suite("scheduler on BullMQ");
const { url, prefix } = redis ?? { url: "", prefix: "" };

const clock = () => new Date();
const ignore = () => {};
let schedulers = 0;
const nextPrefix = () => `${prefix}${schedulers++}:`;

async function openScheduler(
  at: string,
  below: string,
  onError: (error: unknown, lane: string | null) => void,
): Promise<Scheduler> {
  const connection = await openRedis(at, quiet);
  const scheduler = createBullmqScheduler(connection, { clock, prefix: below, onError });
  return {
    ...scheduler,
    async [Symbol.asyncDispose]() {
      await scheduler[Symbol.asyncDispose]();
      await connection[Symbol.asyncDispose]();
    },
  };
}

describeScheduler(test, (onError) => openScheduler(url, nextPrefix(), onError));

test("lets one process drain what another one wakes, each lane by one at a time", async () => {
  const below = nextPrefix();
  await using web = await openScheduler(url, below, ignore);
  await using one = await openScheduler(url, below, ignore);
  await using other = await openScheduler(url, below, ignore);
  let running = 0;
  let most = 0;
  let drained = 0;
  const drain = async () => {
    running += 1;
    most = Math.max(most, running);
    await pause(20);
    running -= 1;
    drained += 1;
  };
  one.start(drain);
  other.start(drain);
  for (let wakes = 0; wakes < 5; wakes += 1) {
    const before = drained;
    web.wake("a");
    await until("a drain for each wake", async () => drained > before);
  }
  assert.is(most, 1);
});

test("has a lane taken over within seconds when its worker is gone, however often", async () => {
  const below = nextPrefix();
  // Its connection is cut in the middle of a drain: for Redis this worker is dead.
  for (let deaths = 0; deaths < 2; deaths += 1) {
    await using proxy = await startTcpProxy(new URL(url), 6379);
    await using dying = await openScheduler(proxy.url, below, ignore);
    const taken = new Promise<void>((resolve) => {
      dying.start(async () => {
        resolve();
        await pause(200);
      });
    });
    if (deaths === 0) dying.wake("a");
    await taken;
    proxy.cut();
  }
  await using heir = await openScheduler(url, below, ignore);
  let drains = 0;
  heir.start(async () => {
    drains += 1;
  });
  await until("the lane to be taken over", async () => drains > 0, 20_000);
});

test("goes on by itself while Redis is away, and ends in time", async () => {
  await using proxy = await startTcpProxy(new URL(url), 6379);
  const connection = await openRedis(proxy.url, quiet);
  const scheduler = createBullmqScheduler(connection, { clock, prefix: nextPrefix(), onError: ignore });
  const drained: string[] = [];
  scheduler.start(async (lane) => void drained.push(lane));
  scheduler.wake("before");
  await until("a drain", async () => drained.includes("before"));
  proxy.cut();
  await until("the loss to be seen", async () => !connection.isReady());
  scheduler.wake("meanwhile");
  await until("a drain without Redis", async () => drained.includes("meanwhile"));
  const begun = performance.now();
  await scheduler[Symbol.asyncDispose]();
  await connection[Symbol.asyncDispose]();
  // The promise is 10 s for a whole node.
  assert.ok(performance.now() - begun < 8_000);
});

test("drains again after everything in Redis was lost", async () => {
  const below = nextPrefix();
  await using scheduler = await openScheduler(url, below, ignore);
  const drained: string[] = [];
  scheduler.start(async (lane) => void drained.push(lane));
  scheduler.wake("a");
  await until("a drain", async () => drained.length === 1);
  await using connection = await openRedis(url, quiet);
  const keys = await connection.client.keys(`${below}*`);
  await connection.client.del(keys);
  scheduler.wake("a");
  await until("another drain", async () => drained.length === 2);
});

test("drains what is insisted on whatever a forged job stands in the way of", async () => {
  const below = nextPrefix();
  await using scheduler = await openScheduler(url, below, ignore);
  await using connection = await openRedis(url, quiet);
  const queue = new Queue("lanes", { connection: connection.client, prefix: `${below}jobs` });
  await queue.add("drain", { lane: "a" }, { delay: 3_600_000, deduplication: { id: "a", keepLastIfActive: true } });
  const drained: string[] = [];
  scheduler.start(async (lane) => void drained.push(lane));
  scheduler.wake("a");
  scheduler.insist("a");
  await until("a drain", async () => drained.length > 0);
  await queue.close();
});

test("leaves a lane that is woken after the halt to another process", async () => {
  const below = nextPrefix();
  const drained: string[] = [];
  await using ending = await openScheduler(url, below, ignore);
  ending.start(async (lane) => void drained.push(`ending ${lane}`));
  void ending.halt();
  ending.wake("a");
  await using staying = await openScheduler(url, below, ignore);
  staying.start(async (lane) => void drained.push(`staying ${lane}`));
  await until("a drain", async () => drained.length > 0);
  assert.equal(drained, ["staying a"]);
});

test("says that Redis is away when it is frozen, though its connection stands, and that it is back", async () => {
  await using proxy = await startTcpProxy(new URL(url), 6379);
  const told: string[] = [];
  await using connection = await openRedis(proxy.url, {
    prefix: nextPrefix(),
    onAway: () => told.push("away"),
    onBack: () => told.push("back"),
    onRefused: () => {},
  });
  assert.is(connection.isReady(), true);
  proxy.freeze();
  await until("the freeze to be seen", async () => !connection.isReady());
  proxy.thaw();
  await until("the thaw to be seen", async () => connection.isReady());
  assert.equal(told, ["away", "back"]);
});

test("does nothing for a forged job that names no lane", async () => {
  const below = nextPrefix();
  const errors: unknown[] = [];
  await using scheduler = await openScheduler(url, below, (error) => errors.push(error));
  const drained: string[] = [];
  scheduler.start(async (lane) => void drained.push(lane));
  await using connection = await openRedis(url, quiet);
  const queue = new Queue("lanes", { connection: connection.client, prefix: `${below}jobs` });
  for (const data of [{}, { lane: 1 }, { lane: { toString: "a" } }, null, "a", []]) await queue.add("drain", data);
  await queue.add("anything", { lane: "named" });
  await until("the one that names a lane", async () => drained.length > 0);
  await until("all to be done", async () => (await queue.count()) === 0);
  assert.equal(drained, ["named"]);
  assert.equal(errors, []);
  assert.is(await queue.getFailedCount(), 0);
  await queue.close();
});

test.run();
