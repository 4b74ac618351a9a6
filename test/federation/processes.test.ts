// time limit: 180 s
import { connect } from "node:net";
import { Queue } from "bullmq";
import { Redis } from "ioredis";
import * as assert from "uvu/assert";
import { type Cluster, type ClusterProcess, startCluster } from "../harness/cluster.ts";
import { openEventStream } from "../harness/event-stream.ts";
import { findPeer, makePeers, settle, startNode, type TestNode } from "../harness/node.ts";
import { joinPlatform, sealProject, type TestPlatform, untilKnown } from "../harness/platform.ts";
import { type Json, logIn } from "../harness/rest.ts";
import { freshDatabaseUrl, noPostgres, noRedis, redisSettings } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

/** One node of two web and two worker processes, on one PostgreSQL and one Redis (docs/operations.md). */
const missing =
  (await freshDatabaseUrl()) === undefined ? noPostgres : (await redisSettings()) === undefined ? noRedis : undefined;
const name = "two web and two worker processes";
const test = missing === undefined ? suite(name) : skipSuite(name, missing);

let cluster: Cluster;
let other: TestNode;
let ouest: TestPlatform;
let sud: TestPlatform;
let codes = 0;

test.before(async () => {
  [cluster, other] = await Promise.all([startCluster(), startNode()]);
  ouest = await joinPlatform(cluster, "ouest");
  sud = await joinPlatform(other, "sud");
  await makePeers(cluster, other);
  await untilKnown(ouest, sud);
  await untilKnown(sud, ouest);
});
test.after(async () => {
  await Promise.all([cluster, other].map((node) => node?.[Symbol.asyncDispose]()));
});

const only = (role: ClusterProcess["role"]) => cluster.processes.filter((process) => process.role === role);
const share = async (owner: TestPlatform, to: TestPlatform): Promise<Json> => {
  codes += 1;
  const object = await sealProject(owner, { code: `C${codes}`, grants: [{ to }] });
  await owner.rest.ok("POST", "/projects", { object });
  return object;
};
const untilSeen = (platform: TestPlatform, objects: readonly Json[]) =>
  until(`${platform.handle} sees all ${objects.length}`, async () => {
    const seen = new Set((await platform.rest.list("/projects")).map(({ uri }) => uri));
    return objects.every(({ id }) => seen.has(id));
  });
const readiness = async (process: ClusterProcess) => {
  const answer = await fetch(`${process.address}/ready`);
  return { status: answer.status, body: (await answer.json()) as Json };
};
/** Nothing is stored twice, and whatever was delivered has its receipt. */
async function assertOnce(objects: readonly Json[]): Promise<void> {
  await settle(cluster, other);
  for (const { id } of objects) {
    const events = (await other.admin.list("/audit")).filter((e) => e.object === id && e.action === "project.shared");
    assert.is(events.length, 1);
  }
  assert.equal(await cluster.admin.list("/deliveries?state=dead"), []);
}

test("either web process takes writes, either worker delivers them, and both directions work", async () => {
  const sent = [];
  for (let count = 0; count < 6; count += 1) sent.push(await share(ouest, sud));
  await untilSeen(sud, sent);
  const received = await Promise.all([share(sud, ouest), share(sud, ouest)]);
  await untilSeen(ouest, received);
  await assertOnce(sent);
});

test("a worker that is killed leaves its lanes to the other, within seconds", async () => {
  const [first, second] = only("worker") as [ClusterProcess, ClusterProcess];
  const sent: Json[] = [];
  for (const victim of [first, second]) {
    const writing = Promise.all([share(ouest, sud), share(ouest, sud)]);
    await victim.kill();
    sent.push(...(await writing), await share(ouest, sud));
    await untilSeen(sud, sent);
    await victim.start();
  }
  await assertOnce(sent);
});

test("with no worker at all everything is kept, and delivered when one is back", async () => {
  for (const worker of only("worker")) await worker.stop();
  const sent = [await share(ouest, sud), await share(ouest, sud)];
  assert.is((await cluster.admin.list("/deliveries?state=queued")).length, 2);
  for (const worker of only("worker")) await worker.start();
  await untilSeen(sud, sent);
  await assertOnce(sent);
});

test("a web process that is killed loses nothing that was answered", async () => {
  const [first] = only("web") as [ClusterProcess];
  await first.kill();
  const sent = [await share(ouest, sud)];
  await first.start();
  await untilSeen(sud, sent);
  await assertOnce(sent);
});

test("without Redis writes are taken, delivered, and the node says that it is degraded", async () => {
  cluster.redis.cut();
  const [web] = only("web") as [ClusterProcess];
  await until("it says so", async () => (await readiness(web)).body.redis === "unreachable");
  assert.is((await readiness(web)).status, 200, "it goes on serving");
  const sent = [await share(ouest, sud)];
  await untilSeen(sud, sent);
  cluster.redis.mend();
  await until("it is back", async () => (await readiness(web)).body.redis !== "unreachable");
  await assertOnce(sent);
});

test("a Redis that lost everything loses nothing of the node", async () => {
  cluster.redis.cut();
  const sent = [await share(ouest, sud)];
  await cluster.flushRedis();
  cluster.redis.mend();
  sent.push(await share(ouest, sud));
  await untilSeen(sud, sent);
  await assertOnce(sent);
});

test("PostgreSQL gone for a moment: 503 or an answer that counts, and everything goes on", async () => {
  cluster.postgres.cut();
  const refused = await ouest.rest.call("GET", "/projects");
  assert.is(refused.status, 503, JSON.stringify(refused.body));
  assert.is(refused.body.code, "unavailable");
  cluster.postgres.mend();
  await until("it serves again", async () => (await ouest.rest.call("GET", "/projects")).status === 200);
  const sent = [await share(ouest, sud)];
  await untilSeen(sud, sent);
  await assertOnce(sent);
  assert.equal(
    cluster.processes.map(({ up }) => up),
    [true, true, true, true],
  );
});

/** The queue as somebody sees it who reaches Redis. */
async function openQueue() {
  const { url } = (await redisSettings()) as { url: string };
  const connection = new Redis(url, { maxRetriesPerRequest: null });
  const queue = new Queue("lanes", { connection, prefix: `${cluster.redisPrefix}jobs` });
  return Object.assign(queue, {
    async [Symbol.asyncDispose]() {
      await queue.close();
      connection.disconnect();
    },
  });
}
const measure = (role: ClusterProcess["role"], metric: string) =>
  Promise.all(only(role).map((process) => process.measure(metric)));
/** Counts lines of the log from now on: what tests before have cut was told of as well. */
function followLog(): (text: string) => number {
  const countIn = (log: string, text: string) => log.split(text).length - 1;
  const before = cluster.log();
  return (text) => countIn(cluster.log(), text) - countIn(before, text);
}

test("jobs that nobody of the node made do no harm, and do not fill the log", async () => {
  const logged = followLog();
  await using queue = await openQueue();
  const strange = async () => {
    const counted = await measure("worker", "concordat_strange_jobs_total");
    return counted.reduce<number>((sum, one) => sum + Number(one), 0);
  };
  const before = await strange();
  for (let count = 0; count < 40; count += 1) await queue.add("drain", { lane: `no-lane-${count}` });
  await queue.add("wake", { lane: "no-lane", activity: { type: "Delete" } });
  await queue.add("wake", null);
  const sent = [await share(ouest, sud)];
  await untilSeen(sud, sent);
  await until("all are taken", async () => (await queue.getJobCountByTypes("wait", "active")) === 0);
  await assertOnce(sent);
  assert.is((await strange()) - before, 42);
  assert.is(logged("draining a lane failed"), 0);
  const told = logged("none of the node's");
  assert.ok(told >= 1 && told <= only("worker").length, `${told}`);
});

test("a job that stands in the way of a lane's wakes holds it no longer than until the next sweep", async () => {
  await using queue = await openQueue();
  const lane = String((await findPeer(cluster, other.origin))?.id);
  const forged = { delay: 3_600_000, deduplication: { id: lane, keepLastIfActive: true } };
  await queue.add("drain", { lane }, forged);
  const began = performance.now();
  const sent = [await share(ouest, sud)];
  await untilSeen(sud, sent);
  // A sweep comes by each 5 seconds.
  assert.ok(performance.now() - began < 11_000);
  await queue.removeDeduplicationKey(lane);
  await assertOnce(sent);
});

test("while jobs in Redis are not taken it delivers all the same, and its workers say so, once", async () => {
  const logged = followLog();
  await using queue = await openQueue();
  await queue.setGlobalRateLimit(1, 3_600_000);
  const sent = [await share(ouest, sud), await share(ouest, sud)];
  await untilSeen(sud, sent);
  const states = () => Promise.all(only("worker").map(async (worker) => (await readiness(worker)).body));
  const stuck = { status: "degraded", redis: "stuck" };
  await until("they say so", async () => (await states()).every(({ redis }) => redis === "stuck"));
  assert.equal(await states(), [stuck, stuck]);
  const taken = () => measure("worker", "concordat_wakes_taken");
  assert.equal(await taken(), [0, 0]);
  assert.equal(
    await measure("web", "concordat_wakes_taken"),
    [undefined, undefined],
    "who drains nothing does not see it",
  );
  const began = performance.now();
  sent.push(await share(ouest, sud));
  await untilSeen(sud, sent);
  // A sweep comes by each 5 seconds.
  assert.ok(performance.now() - began < 11_000);
  await queue.removeGlobalRateLimit();
  await queue.removeRateLimitKey();
  await until("they are taken again", async () => (await states()).every(({ redis }) => redis === "ok"));
  assert.equal(await taken(), [1, 1]);
  await assertOnce(sent);
  assert.equal([logged("wakes in Redis are not taken"), logged("wakes in Redis are taken again")], [2, 2]);
});

test("a queue that somebody has paused is taken up again", async () => {
  await using queue = await openQueue();
  await queue.pause();
  const sent = [await share(ouest, sud)];
  await untilSeen(sud, sent);
  await until("the pause is over", async () => !(await queue.isPaused()));
  await assertOnce(sent);
});

test("with Redis frozen it says so, and no stream tells anything after its session has ended at another process", async () => {
  const [one, two] = only("web") as [ClusterProcess, ClusterProcess];
  const guest = await joinPlatform(cluster, "guest");
  const rest = await logIn(one.address, "guest", guest.accessKey);
  await using stream = await openEventStream(two.address, rest);
  cluster.redis.freeze();
  await rest.ok("POST", "/auth/logout", {});
  const object = await sealProject(ouest, { code: "FROZEN", grants: [{ to: guest }] });
  await ouest.rest.ok("POST", "/projects", { object });
  await until("the stream ends", () => stream.ended);
  assert.equal(stream.events, []);
  await until("it says so", async () => (await readiness(two)).body.redis === "unreachable");
  const sent = [await share(ouest, sud)];
  await untilSeen(sud, sent);
  cluster.redis.thaw();
  await until("it is back", async () => (await readiness(two)).body.redis === "ok");
  await assertOnce(sent);
});

test("all end in time when they are told to, also while Redis does not answer and a request does not end", async () => {
  cluster.redis.freeze();
  const sockets = only("web").map(({ address }) => {
    const socket = connect(Number(new URL(address).port), "127.0.0.1");
    socket.on("error", () => {});
    socket.write(
      "POST /inbox HTTP/1.1\r\nHost: x\r\nContent-Type: application/activity+json\r\nContent-Length: 9\r\n\r\n",
    );
    return socket;
  });
  const began = Date.now();
  await cluster.stop();
  assert.ok(Date.now() - began < 10_000);
  for (const socket of sockets) socket.destroy();
  cluster.redis.thaw();
  await cluster.start();
  await untilSeen(sud, [await share(ouest, sud)]);
});

test.run();
