import { Queue } from "bullmq";
import * as assert from "uvu/assert";
import { openRedis } from "../../src/storage/redis.ts";
import {
  type BullmqScheduler,
  type BullmqSchedulerOptions,
  createBullmqScheduler,
} from "../../src/storage/scheduler-bullmq.ts";
import { describeScheduler } from "../conformance/scheduler.ts";
import { heedless, quiet } from "../harness/redis-quiet.ts";
import { noRedis, redisSettings } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";
import { startTcpProxy } from "../harness/tcp-proxy.ts";
import { pause, until } from "../harness/until.ts";

const redis = await redisSettings();
const test = redis === undefined ? skipSuite("scheduler on BullMQ", noRedis) : suite("scheduler on BullMQ");
const { url, prefix } = redis ?? { url: "", prefix: "" };

const clock = () => new Date();
let schedulers = 0;
const nextPrefix = () => `${prefix}${schedulers++}:`;

async function openScheduler(
  at: string,
  below: string,
  told: Partial<BullmqSchedulerOptions> = {},
): Promise<BullmqScheduler> {
  const connection = await openRedis(at, quiet);
  const scheduler = createBullmqScheduler(connection, { clock, prefix: below, ...heedless, ...told });
  const dispose = scheduler[Symbol.asyncDispose];
  return Object.assign(scheduler, {
    async [Symbol.asyncDispose]() {
      await dispose();
      await connection[Symbol.asyncDispose]();
    },
  });
}

/** The queue as somebody else sees it who reaches Redis. */
async function openQueue(below: string) {
  const connection = await openRedis(url, quiet);
  const queue = new Queue("lanes", { connection: connection.client, prefix: `${below}jobs` });
  return Object.assign(queue, {
    redis: connection.client,
    async [Symbol.asyncDispose]() {
      await queue.close();
      await connection[Symbol.asyncDispose]();
    },
  });
}

type Other = Awaited<ReturnType<typeof openQueue>>;

describeScheduler(test, (onError) => openScheduler(url, nextPrefix(), { onError }));

test("lets one process drain what another one wakes, each lane by one at a time", async () => {
  const below = nextPrefix();
  await using web = await openScheduler(url, below);
  await using one = await openScheduler(url, below);
  await using other = await openScheduler(url, below);
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
    await using dying = await openScheduler(proxy.url, below);
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
  await using heir = await openScheduler(url, below);
  let drains = 0;
  heir.start(async () => {
    drains += 1;
  });
  await until("the lane to be taken over", async () => drains > 0, 20_000);
});

test("goes on by itself while Redis is away, and ends in time", async () => {
  await using proxy = await startTcpProxy(new URL(url), 6379);
  const connection = await openRedis(proxy.url, quiet);
  const scheduler = createBullmqScheduler(connection, { clock, prefix: nextPrefix(), ...heedless });
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
  await using scheduler = await openScheduler(url, below);
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
  await using scheduler = await openScheduler(url, below);
  await using queue = await openQueue(below);
  await queue.add("drain", { lane: "a" }, { delay: 3_600_000, deduplication: { id: "a", keepLastIfActive: true } });
  const drained: string[] = [];
  scheduler.start(async (lane) => void drained.push(lane));
  scheduler.wake("a");
  scheduler.insist("a");
  await until("a drain", async () => drained.length > 0);
});

test("wakes a lane again whose last wake was added by half", async () => {
  const below = nextPrefix();
  await using queue = await openQueue(below);
  const wait = queue.toKey("wait");
  await queue.redis.set(wait, "foreign");
  await using scheduler = await openScheduler(url, below);
  // Nothing drains yet: this one is lost.
  scheduler.wake("a");
  await until("a job that waits nowhere", async () => (await queue.redis.exists(queue.toKey("1"))) === 1);
  await queue.redis.del(wait);
  const drained: string[] = [];
  scheduler.start(async (lane) => void drained.push(lane));
  await until("a drain", () => {
    scheduler.wake("a");
    return drained.length > 0;
  });
});

test("leaves a lane that is woken after the halt to another process", async () => {
  const below = nextPrefix();
  const drained: string[] = [];
  await using ending = await openScheduler(url, below);
  ending.start(async (lane) => void drained.push(`ending ${lane}`));
  void ending.halt();
  ending.wake("a");
  await using staying = await openScheduler(url, below);
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

test("does nothing for a forged job that names no lane, and counts it", async () => {
  const below = nextPrefix();
  const errors: unknown[] = [];
  let strange = 0;
  await using scheduler = await openScheduler(url, below, {
    onError: (error) => errors.push(error),
    isLane: (name) => name === "named",
    onStrangeJob: () => {
      strange += 1;
    },
  });
  const drained: string[] = [];
  scheduler.start(async (lane) => void drained.push(lane));
  await using queue = await openQueue(below);
  const forged = [{}, { lane: 1 }, { lane: { toString: "a" } }, null, "a", [], { lane: "no lane" }];
  for (const data of forged) await queue.add("drain", data);
  await queue.add("wake", { lane: "no lane" });
  await queue.add("anything", { lane: "named" });
  await until("the one that names a lane", async () => drained.length > 0);
  await until("all to be done", async () => (await queue.count()) === 0);
  assert.equal(drained, ["named"]);
  assert.equal(errors, []);
  assert.is(strange, forged.length + 1);
  assert.is(await queue.getFailedCount(), 0);
});

test("keeps no wake in a process that drains nothing", async () => {
  await using proxy = await startTcpProxy(new URL(url), 6379);
  await using connection = await openRedis(proxy.url, quiet);
  await using scheduler = createBullmqScheduler(connection, { clock, prefix: nextPrefix(), ...heedless });
  proxy.cut();
  await until("the loss to be seen", async () => !connection.isReady());
  scheduler.wake("a");
  const drained: string[] = [];
  scheduler.start(async (lane) => void drained.push(lane));
  scheduler.wake("b");
  await until("a drain", () => drained.length > 0);
  assert.equal(drained, ["b"]);
});

for (const [what, stop, go] of [
  [
    "a limit",
    async (queue: Other) => void (await queue.setGlobalRateLimit(1, 3_600_000)),
    async (queue: Other) => {
      await queue.removeGlobalRateLimit();
      await queue.removeRateLimitKey();
    },
  ],
  [
    "a foreign key",
    async (queue: Other) => void (await queue.redis.set(queue.toKey("wait"), "foreign")),
    async (queue: Other) => void (await queue.redis.del(queue.toKey("wait"))),
  ],
] as const) {
  test(`drains by itself while ${what} keeps jobs from being taken, and says so once`, async () => {
    const below = nextPrefix();
    const told: string[] = [];
    await using queue = await openQueue(below);
    await stop(queue);
    await using scheduler = await openScheduler(url, below, {
      onStuck: ({ paused, error }) => told.push(`stuck${paused ? " paused" : ""}${error === undefined ? "" : " why"}`),
      onTaken: () => told.push("taken"),
    });
    const drained: string[] = [];
    scheduler.start(async (lane) => void drained.push(lane));
    // Added by half, or to be taken later.
    scheduler.wake("early");
    await until("it sees that", () => scheduler.stuck, 40_000);
    scheduler.wake("a");
    await until("a drain", () => drained.includes("a"));
    // It goes on looking.
    await pause(3_000);
    await go(queue);
    await until("it sees that jobs are taken", () => !scheduler.stuck);
    const before = drained.filter((lane) => lane === "early").length;
    scheduler.wake("early");
    await until("a drain", () => drained.filter((lane) => lane === "early").length > before);
    assert.equal(told, [what === "a limit" ? "stuck" : "stuck why", "taken"]);
  });
}

test("ends a pause, and says that there was one", async () => {
  const below = nextPrefix();
  const told: string[] = [];
  await using queue = await openQueue(below);
  await queue.pause();
  await using scheduler = await openScheduler(url, below, {
    onStuck: ({ paused }) => told.push(paused ? "paused" : "stuck"),
    onTaken: () => told.push("taken"),
  });
  const drained: string[] = [];
  scheduler.start(async (lane) => void drained.push(lane));
  scheduler.wake("a");
  await until("a drain", () => drained.includes("a"), 40_000);
  await until("it sees that jobs are taken", () => told.includes("taken"));
  assert.equal(told, ["paused", "taken"]);
});

test.run();
