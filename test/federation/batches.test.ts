// time limit: 240 s
import * as assert from "uvu/assert";
import { findPeer, settle, startNode, type TestNode } from "../harness/node.ts";
import { type Arrival, approveScripted, introduceScripted, type ScriptedPeer, startPeer } from "../harness/peer.ts";
import { joinPlatform, sealNext, sealProject, untilKnown } from "../harness/platform.ts";
import type { Json } from "../harness/rest.ts";
import { suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

/** Batches that go out (docs/protocol.md, "Delivery"): one request, and each activity judged as if it had gone alone. */
const test = suite("batches");

let node: TestNode;
let peer: ScriptedPeer;
let names = 0;

test.before(async () => {
  [node, peer] = await Promise.all([startNode(), startPeer({ batches: true })]);
  await approveScripted(node, peer);
  await settle(node);
});
test.after(async () => void (await Promise.all([node[Symbol.asyncDispose](), peer[Symbol.asyncDispose]()])));
test.before.each(() => {
  peer.answerWith(undefined);
  peer.answerBatchesWith(undefined);
});

interface Waiting {
  /** Names that the activities tell of, in the order of writing. */
  readonly names: readonly string[];
  /** What came to the peer's inboxes since. */
  readonly arrivals: () => readonly Arrival[];
  /** Requests to that inbox since. */
  readonly requests: (path: string) => number;
  /** The deliveries, in the order of writing. */
  readonly deliveries: () => Promise<readonly Json[]>;
}

const nameOf = (activity: Json) => String((activity.object as Json).name);

/** Holds the lane while `count` platforms are made, of each of which the peer is told, and lets it go. */
async function release(count: number): Promise<Waiting> {
  const path = `/peers/${String((await findPeer(node, peer.origin))?.id)}`;
  const [before, asked] = [peer.arrivals.length, peer.requests.length];
  await node.admin.ok("POST", `${path}/suspend`, {});
  const made: string[] = [];
  for (let at = 0; at < count; at += 1) {
    const { handle } = await joinPlatform(node, `p${names++}`);
    made.push(`Platform ${handle}`);
  }
  const held = await node.admin.list("/deliveries?state=held");
  await node.admin.ok("POST", `${path}/resume`, {});
  return {
    names: made,
    arrivals: () => peer.arrivals.slice(before),
    requests: (to) => peer.requests.slice(asked).filter((request) => request === `POST ${to}`).length,
    async deliveries() {
      const now = new Map((await node.admin.list("/deliveries")).map((delivery) => [delivery.id, delivery]));
      // Lists are newest first.
      return held.map(({ id }) => now.get(id) ?? {}).reverse();
    },
  };
}

const statesOf = async (waiting: Waiting) => (await waiting.deliveries()).map(({ state }) => state);
const keyIdOf = ({ headers }: Arrival) => /keyId="([^"]*)"/.exec(String(headers.signature))?.[1];

test("what waits goes in one request, in order, signed by the instance actor", async () => {
  const waiting = await release(5);
  await settle(node);
  assert.is(waiting.requests("/batch-inbox"), 1);
  assert.is(waiting.requests("/inbox"), 0);
  assert.equal(
    waiting.arrivals().map(({ activity }) => nameOf(activity)),
    waiting.names,
  );
  assert.is(keyIdOf(waiting.arrivals()[0] as Arrival), `${node.origin}/actor#main-key`);
  for (const { state, receipt } of await waiting.deliveries()) assert.equal([state, receipt], ["delivered", true]);
});

test("a single activity goes alone", async () => {
  const waiting = await release(1);
  await settle(node);
  assert.equal([waiting.requests("/batch-inbox"), waiting.requests("/inbox")], [0, 1]);
});

test("each result counts for its activity: one is dead, one is tried again, the others are delivered", async () => {
  let trouble = true;
  peer.answerWith(async ({ activity }) => {
    const name = nameOf(activity);
    if (name === waiting.names[1]) return { status: 403, body: { status: 403, code: "peer_policy" } };
    if (name === waiting.names[2] && trouble) return { status: 500, body: { status: 500, code: "internal" } };
    return { status: 202, body: { receipt: await peer.receiptFor(activity, node.origin) } };
  });
  const waiting = await release(4);
  await until("three have an outcome", async () => {
    return (await statesOf(waiting)).filter((state) => state !== "queued").length === 3;
  });
  assert.equal(await statesOf(waiting), ["delivered", "dead", "queued", "delivered"]);
  trouble = false;
  await settle(node);
  assert.equal(await statesOf(waiting), ["delivered", "dead", "delivered", "delivered"]);
});

test("a result without a valid receipt, or of another activity, delivers nothing", async () => {
  let answered = false;
  peer.answerBatchesWith(async (batch) => {
    const receipts = await Promise.all(batch.map((activity) => peer.receiptFor(activity, node.origin)));
    const results = batch.map(({ id }, at) => ({ id, status: 202, receipt: receipts[at] }));
    answered = true;
    return {
      status: 200,
      body: {
        results: [
          { ...results[0], receipt: undefined },
          { ...results[2], id: "x" },
        ],
      },
    };
  });
  const waiting = await release(3);
  await until("the batch is answered", () => answered);
  peer.answerBatchesWith(undefined);
  await settle(node);
  assert.equal(await statesOf(waiting), ["delivered", "delivered", "delivered"]);
  const attempts = (await waiting.deliveries()).map((delivery) => Number(delivery.attempts));
  assert.ok(
    attempts.every((count) => count > 1),
    "none of them was delivered by the first answer",
  );
});

for (const [what, answer] of [
  ["is not there", { status: 404 }],
  ["does not take a POST", { status: 405 }],
  ["finds the batch too large", { status: 413 }],
  ["fails", { status: 500 }],
  ["answers what is no list of results", { status: 200, body: "ok" }],
] as const) {
  test(`where the batch inbox ${what}, each activity goes alone`, async () => {
    peer.answerBatchesWith(() => answer);
    const waiting = await release(3);
    await settle(node);
    assert.is(waiting.requests("/inbox"), 3);
    assert.equal(await statesOf(waiting), ["delivered", "delivered", "delivered"]);
  });
}

test("an activity on which the peer chokes does not hold those that were with it", async () => {
  const chokes = (activity: Json) => nameOf(activity) === waiting.names[0];
  peer.answerBatchesWith((batch) => ({ status: batch.some(chokes) ? 502 : 404 }));
  peer.answerWith(async ({ activity }) => {
    if (chokes(activity)) return { status: 502 };
    return { status: 202, body: { receipt: await peer.receiptFor(activity, node.origin) } };
  });
  const waiting = await release(3);
  await until("the others are delivered", async () => {
    const [, ...others] = await statesOf(waiting);
    return others.every((state) => state === "delivered");
  });
  assert.is((await statesOf(waiting))[0], "queued");
  peer.answerWith(undefined);
  await settle(node);
});

test("what is withdrawn while a batch is under way that says nothing is not sent alone", async () => {
  const owner = await joinPlatform(node, "owner");
  const grantee = await introduceScripted(node, peer, "grantee");
  await untilKnown(owner, grantee);
  await settle(node);
  const asked = peer.requests.length;
  let answer = () => {};
  const answered = new Promise<void>((resolve) => {
    answer = resolve;
  });
  peer.answerBatchesWith(async () => {
    await answered;
    return { status: 404 };
  });
  const path = `/peers/${String((await findPeer(node, peer.origin))?.id)}`;
  await node.admin.ok("POST", `${path}/suspend`, {});
  const grants = [{ to: grantee }];
  const [first, second] = [
    await sealProject(owner, { code: "withdrawn", grants }),
    await sealProject(owner, { code: "kept", grants }),
  ];
  const { id } = await owner.rest.ok("POST", "/projects", { object: first });
  await owner.rest.ok("POST", "/projects", { object: second });
  await node.admin.ok("POST", `${path}/resume`, {});
  await until("the batch is under way", () => peer.requests.slice(asked).includes("POST /batch-inbox"));
  const before = peer.arrivals.length;
  const next = await sealNext(owner, first, { grants: [] });
  await owner.rest.ok("POST", `/projects/${String(id)}/unshare`, { object: next });
  answer();
  await settle(node);
  assert.equal(
    peer.arrivals.slice(before).map(({ activity }) => [activity.type, activity.target ?? (activity.object as Json).id]),
    [
      ["Create", second.id],
      ["Remove", first.id],
    ],
  );
});

test("a batch that is refused for now backs the lane off, and its order is kept", async () => {
  let refusals = 0;
  peer.answerBatchesWith(() => {
    refusals += 1;
    return { status: 503, headers: { "retry-after": "0" }, body: { status: 503, code: "unavailable" } };
  });
  const waiting = await release(3);
  await until("the lane has come back", () => refusals > 1);
  peer.answerBatchesWith(undefined);
  await settle(node);
  assert.is(waiting.requests("/inbox"), 0);
  assert.equal(await statesOf(waiting), ["delivered", "delivered", "delivered"]);
});

test.run();
