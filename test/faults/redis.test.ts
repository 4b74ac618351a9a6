import { Redis } from "ioredis";
import * as assert from "uvu/assert";
import { readConfig } from "../../src/config.ts";
import { examineRedis } from "../../src/doctor/stores.ts";
import { openRedis } from "../../src/storage/redis.ts";
import { createBullmqScheduler } from "../../src/storage/scheduler-bullmq.ts";
import { createRedisSignals } from "../../src/storage/signals-redis.ts";
import { freePort } from "../harness/free-port.ts";
import { startNode, type TestNode } from "../harness/node.ts";
import { type PrivateServer, startPrivateRedis } from "../harness/private-servers.ts";
import { heedless, quiet } from "../harness/redis-quiet.ts";
import { askRedis } from "../harness/redis-wire.ts";
import type { Json } from "../harness/rest.ts";
import { freshDatabaseUrl, noPostgres, noRedis } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";
import { startTcpProxy, type TcpProxy } from "../harness/tcp-proxy.ts";
import { until } from "../harness/until.ts";

/** What a node tells of a Redis that goes, and of one that would drop what it holds: a server of its own. */
const hasPostgres = (await freshDatabaseUrl()) !== undefined;
const server = hasPostgres ? await startPrivateRedis(async (url) => void (await askRedis(url, "PING"))) : undefined;
const name = "a Redis that goes, or evicts";
const test = server === undefined ? skipSuite(name, hasPostgres ? noRedis : noPostgres) : suite(name);
const { url } = server ?? { url: "" };

let metrics: number;
let proxy: TcpProxy;
let node: TestNode;

test.before(async () => {
  metrics = await freePort();
  proxy = await startTcpProxy(new URL(url), 6379);
  const environment = { CONCORDAT_REDIS_URL: proxy.url, CONCORDAT_METRICS_PORT: String(metrics) };
  node = await startNode({ store: "postgres", environment });
});
test.after(async () => {
  await node?.[Symbol.asyncDispose]();
  await proxy?.[Symbol.asyncDispose]();
  await (server as PrivateServer)[Symbol.asyncDispose]();
});

const ready = async () => (await (await fetch(`${node.origin}/ready`)).json()) as Json;
const redisUp = async () => {
  const measured = await (await fetch(`http://127.0.0.1:${metrics}/metrics`)).text();
  return /^concordat_redis_up (\d)$/m.exec(measured)?.[1];
};
const logged = (text: string) => node.log().split(text).length - 1;
const setPolicy = (policy: string) => askRedis(url, `CONFIG SET maxmemory-policy ${policy}`);
const doctor = async () => {
  const settings = { CONCORDAT_ORIGIN: node.origin, CONCORDAT_DATA_DIR: node.dataDir, CONCORDAT_REDIS_URL: url };
  const database = { CONCORDAT_DATABASE_URL: String(node.databaseUrl) };
  return (await examineRedis(readConfig({ ...settings, ...database }, { cwd: node.dataDir }))).map(
    ({ state, message }) => `${state}: ${message}`,
  );
};

test("its going and its coming back are in metrics, readiness and, once each, in the log", async () => {
  assert.equal([await redisUp(), await ready()], ["1", { status: "ready", redis: "ok" }]);
  proxy.cut();
  await until("the metric says so", async () => (await redisUp()) === "0");
  assert.equal(await ready(), { status: "degraded", redis: "unreachable" });
  await until("the log says so", () => logged("Redis is away") === 1);
  assert.is(logged("Redis is back"), 0);
  proxy.mend();
  await until("the metric says so", async () => (await redisUp()) === "1");
  assert.equal(await ready(), { status: "ready", redis: "ok" });
  assert.equal([logged("Redis is away"), logged("Redis is back")], [1, 1]);
});

test("one that refuses another connection of a process, and answers on its main one, is not away", async () => {
  const told: string[] = [];
  const tell = { onAway: (error: Error) => told.push(error.message), onBack: () => told.push("back"), onRefused() {} };
  await using connection = await openRedis(url, tell);
  await using signals = createRedisSignals(connection, { prefix: "refused:" });
  signals.listen("a", () => {});
  const admin = new Redis(url);
  try {
    await until("it subscribes", async () => (await admin.call("CLIENT", "LIST", "TYPE", "pubsub")) !== "");
    await admin.config("SET", "maxclients", "1");
    await admin.call("CLIENT", "KILL", "TYPE", "pubsub");
    const refused = async () => /^rejected_connections:(\d+)/m.exec(await admin.info("stats"))?.[1];
    await until("the subscriber is refused, again and again", async () => Number(await refused()) >= 8);
    assert.is(connection.isReady(), true);
    assert.equal(told, []);
  } finally {
    await admin.config("SET", "maxclients", "1000");
    admin.disconnect();
  }
});

test("one that evicts is told by the log alone: BullMQ prints nothing of it beside", async () => {
  await using connection = await openRedis(url, quiet);
  await setPolicy("allkeys-lru");
  const printed: unknown[] = [];
  const { warn } = console;
  console.warn = (...parts: unknown[]) => void printed.push(...parts);
  try {
    await using scheduler = createBullmqScheduler(connection, {
      clock: () => new Date(),
      prefix: "evicting:",
      ...heedless,
    });
    const drained: string[] = [];
    scheduler.start(async (lane) => void drained.push(lane));
    scheduler.wake("a");
    await until("its connections are in use", () => drained.length > 0);
  } finally {
    console.warn = warn;
    await setPolicy("noeviction");
  }
  assert.equal(printed, []);
});

test("one that comes back evicting is told by readiness, log and doctor, until it is set up again", async () => {
  const comeBack = async (policy: string) => {
    proxy.cut();
    await until("it is away", async () => (await ready()).redis === "unreachable");
    await setPolicy(policy);
    proxy.mend();
  };
  assert.match((await doctor())[0] ?? "", /^ok: /);
  await comeBack("allkeys-lru");
  await until("readiness says so", async () => (await ready()).redis === "evicts");
  assert.is((await ready()).status, "degraded");
  assert.is(await redisUp(), "1", "it answers");
  assert.ok(logged("redis_evicts") > 0);
  assert.match((await doctor())[0] ?? "", /^wrong: .*allkeys-lru.*noeviction/);
  await comeBack("noeviction");
  await until("readiness says so", async () => (await ready()).redis === "ok");
});

test("no node starts on one that evicts", async () => {
  await node.stop();
  await setPolicy("allkeys-lru");
  const failure = await node.start().then(
    () => undefined,
    (error: { readonly code?: unknown }) => error,
  );
  await setPolicy("noeviction");
  assert.is(failure?.code, "redis_evicts");
  await node.start();
});

test.run();
