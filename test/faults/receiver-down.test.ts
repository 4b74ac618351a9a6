import * as assert from "uvu/assert";
import { findPeer, type NodeOptions, settle, startNode, type TestNode } from "../harness/node.ts";
import {
  type Arrival,
  approveScripted,
  introduceScripted,
  type ScriptedAnswer,
  type ScriptedPeer,
  startPeer,
} from "../harness/peer.ts";
import {
  joinPlatform,
  type PlatformKeys,
  sealNext,
  sealProject,
  type TestPlatform,
  untilKnown,
} from "../harness/platform.ts";
import type { Json } from "../harness/rest.ts";
import { freshDatabaseUrl, noPostgres } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

/** A receiver that is down, slow to recover, or answers what is no acceptance (docs/protocol.md, "Delivery"). */
const test = suite("a receiver in trouble");
const store = (await freshDatabaseUrl()) === undefined ? "pglite" : "postgres";
/** Leases are read and written from outside: not in PGlite. */
const leased = store === "postgres" ? suite("a killed node's lease") : skipSuite("a killed node's lease", noPostgres);

interface Pair {
  readonly node: TestNode;
  readonly peer: ScriptedPeer;
  readonly owner: TestPlatform;
  /** A platform of the scripted peer. */
  readonly grantee: PlatformKeys;
}

let pair: Pair;

/** A node and a scripted peer, which has told of one platform of its own. */
async function startPair(options: NodeOptions = {}): Promise<Pair> {
  const [node, peer] = await Promise.all([startNode({ store, ...options }), startPeer()]);
  await approveScripted(node, peer);
  const owner = await joinPlatform(node, "owner");
  const grantee = await introduceScripted(node, peer, "chu");
  await untilKnown(owner, grantee);
  await settle(node);
  return { node, peer, owner, grantee };
}

test.before(async () => {
  pair = await startPair();
});
test.after(async () => {
  await Promise.all([pair.node, pair.peer].map((part) => part[Symbol.asyncDispose]()));
});
test.before.each(() => pair.peer.answerWith(undefined));

/** Declares a project that goes to the scripted peer, and gives it. */
async function share(code: string, { owner, grantee }: Pair = pair): Promise<Json> {
  const object = await sealProject(owner, { code, grants: [{ to: grantee }] });
  await owner.rest.ok("POST", "/projects", { object });
  return object;
}

const concerns = ({ activity }: Arrival, object: Json) => (activity.object as Json | undefined)?.id === object.id;
const arrivalsOf = (object: Json, { peer } = pair) => peer.arrivals.filter((arrival) => concerns(arrival, object));

/** The one delivery of the activity that created `object`. */
async function deliveryOf(object: Json): Promise<Json> {
  const arrival = await until("it was sent once", () => arrivalsOf(object)[0]);
  const activity = encodeURIComponent(String(arrival.activity.id));
  const [delivery] = await pair.node.admin.list(`/deliveries?activity=${activity}`);
  if (delivery === undefined) throw new Error("the delivery is not listed");
  return delivery;
}
const untilState = (object: Json, state: string) =>
  until(`it is ${state}`, async () => {
    const delivery = await deliveryOf(object);
    return delivery.state === state ? delivery : null;
  });

/** The lane to the scripted peer, as the administrator sees it. */
async function readLane({ node, peer }: Pair): Promise<Json> {
  const { lane } = (await findPeer(node, peer.origin)) ?? {};
  return lane as Json;
}

/** Answers as `answer` says for these objects, as the protocol wants for all others. */
function answerFor(objects: readonly Json[], answer: (arrival: Arrival) => Promise<ScriptedAnswer> | ScriptedAnswer) {
  const { peer, node } = pair;
  peer.answerWith(async (arrival) => {
    if (objects.some((object) => concerns(arrival, object))) return await answer(arrival);
    return { status: 202, body: { receipt: await peer.receiptFor(arrival.activity, node.origin) } };
  });
}

test("what could not be sent while the receiver was down is delivered when it is up, once and in order", async () => {
  const { node, peer } = pair;
  await peer.close();
  const objects = [await share("down-1"), await share("down-2"), await share("down-3")];
  const waiting = await until("the lane backs off", async () => {
    const lane = await readLane(pair);
    return lane.state === "backing_off" ? lane : null;
  });
  assert.is(waiting.depth, 3);
  assert.is((waiting.last_error as Json).status, null);
  assert.is(waiting.dead, 0);

  await peer.listen();
  await settle(node);
  const arrived = peer.arrivals.filter((arrival) => objects.some((object) => concerns(arrival, object)));
  assert.equal(
    arrived.map(({ activity }) => (activity.object as Json).id),
    objects.map(({ id }) => id),
  );
  for (const object of objects) assert.is((await untilState(object, "delivered")).receipt, true);
  assert.is((await readLane(pair)).state, "idle");
});

for (const [kind, status, members] of [
  ["", 202, {}],
  [" that is refused", 403, { id: "https://elsewhere.example/activities/019a0000-0000-7000-8000-000000000000" }],
] as const) {
  test(`an authenticated request of the receiver${kind} makes its lane due at once`, async () => {
    const { node, peer } = pair;
    let ready = false;
    peer.answerWith(async ({ activity }) =>
      ready
        ? { status: 202, body: { receipt: await peer.receiptFor(activity, node.origin) } }
        : { status: 503, headers: { "Retry-After": "7200" } },
    );
    const object = await share(`woken${kind}`);
    await until("the lane backs off", async () => (await readLane(pair)).state === "backing_off");
    ready = true;
    const note = peer.activity({ type: "Like", object: `${peer.origin}/x`, ...members });
    assert.is((await peer.post(node.origin, note)).status, status);
    await untilState(object, "delivered");
  });
}

test("a node that stops in the middle of a full lane delivers the rest after its next start", async () => {
  const { node, peer } = pair;
  await peer.close();
  const objects: Json[] = [];
  for (let at = 0; at < 20; at += 1) objects.push(await share(`stop-${at}`));
  let slow = true;
  peer.answerWith(async ({ activity }) => {
    if (slow) await new Promise((resolve) => setTimeout(resolve, 50));
    return { status: 202, body: { receipt: await peer.receiptFor(activity, node.origin) } };
  });
  await peer.listen();
  await until("some have arrived", () => arrivalsOf(objects[2] as Json).length > 0);
  await node.stop();
  assert.is(arrivalsOf(objects.at(-1) as Json).length, 0);
  slow = false;
  await node.start();
  await settle(node);
  for (const object of objects) await untilState(object, "delivered");
  // What was under way when the node stopped may have arrived and be sent once more; nothing else is.
  assert.ok(objects.flatMap((object) => arrivalsOf(object)).length <= objects.length + 1);
});

test("an activity that the receiver chokes on is deferred alone; those behind it pass", async () => {
  let failing = true;
  const choking = await sealProject(pair.owner, { code: "choking", grants: [{ to: pair.grantee }] });
  answerFor([choking], async ({ activity }) =>
    failing
      ? { status: 500, body: "boom" }
      : { status: 202, body: { receipt: await pair.peer.receiptFor(activity, pair.node.origin) } },
  );
  await pair.owner.rest.ok("POST", "/projects", { object: choking });
  const others = [await share("behind-1"), await share("behind-2")];
  for (const object of others) await untilState(object, "delivered");
  const deferred = await until("it was tried again", async () => {
    const delivery = await deliveryOf(choking);
    return Number(delivery.attempts) >= 2 ? delivery : null;
  });
  assert.is(deferred.state, "queued");
  assert.equal([(deferred.last_error as Json).status, (deferred.last_error as Json).code], [500, "http_500"]);
  failing = false;
  await untilState(choking, "delivered");
});

test("503 with Retry-After holds the whole lane for as long as it says", async () => {
  const { node, peer } = pair;
  let ready = false;
  peer.answerWith(async ({ activity }) =>
    ready
      ? { status: 202, body: { receipt: await peer.receiptFor(activity, node.origin) } }
      : { status: 503, headers: { "Retry-After": "7200" }, body: { code: "unavailable" } },
  );
  const first = await share("busy-1");
  const lane = await until("the lane backs off", async () => {
    const state = await readLane(pair);
    return state.state === "backing_off" ? state : null;
  });
  const error = lane.last_error as Json;
  assert.equal([error.status, error.code], [503, "unavailable"]);
  assert.ok(Date.parse(String(lane.next_attempt_at)) - Date.parse(String(error.at)) >= 7_200_000);

  const second = await share("busy-2");
  assert.is(arrivalsOf(second).length, 0);
  ready = true;
  const { id } = await deliveryOf(first);
  await node.admin.ok("POST", `/deliveries/${String(id)}/retry`, {});
  await untilState(first, "delivered");
  await untilState(second, "delivered");
});

test("a refusal that is permanent for the activity is a dead letter; the lane goes on; a retry delivers it", async () => {
  const { node, peer, owner, grantee } = pair;
  let refusing = true;
  const refused = await sealProject(owner, { code: "refused", grants: [{ to: grantee }] });
  answerFor([refused], async ({ activity }) =>
    refusing
      ? { status: 422, body: { type: "about:blank", status: 422, code: "recipients_missing" } }
      : { status: 202, body: { receipt: await peer.receiptFor(activity, node.origin) } },
  );
  await owner.rest.ok("POST", "/projects", { object: refused });
  const behind = await share("behind-refused");
  const dead = await untilState(refused, "dead");
  assert.is((dead.last_error as Json).code, "recipients_missing");
  assert.is(dead.attempts, 1);
  assert.is(dead.next_attempt_at, null);
  await untilState(behind, "delivered");
  assert.is((await readLane(pair)).dead, 1);
  const [alarm] = (await node.admin.list("/audit")).filter(({ action }) => action === "delivery.dead");
  assert.is(alarm?.object, dead.activity);

  refusing = false;
  await node.admin.ok("POST", `/deliveries/${String(dead.id)}/retry`, {});
  assert.is((await untilState(refused, "delivered")).receipt, true);
  const again = await node.admin.call("POST", `/deliveries/${String(dead.id)}/retry`, {});
  assert.is(again.status, 409);
  assert.is(again.body.code, "state_conflict");
});

test("a dead letter can be discarded, and stays listed as that", async () => {
  const object = await sealProject(pair.owner, { code: "discarded", grants: [{ to: pair.grantee }] });
  answerFor([object], () => ({ status: 403, body: { code: "not_for_us" } }));
  await pair.owner.rest.ok("POST", "/projects", { object });
  const { id } = await untilState(object, "dead");
  await pair.node.admin.ok("POST", `/deliveries/${String(id)}/discard`, {});
  assert.is((await deliveryOf(object)).state, "discarded");
});

test("what waits for a receiver can be discarded, and is not sent when that is up; what is behind it is", async () => {
  const { node, peer } = pair;
  await peer.close();
  const object = await share("discarded-waiting");
  const [delivery] = await node.admin.list("/deliveries?state=queued");
  const behind = await share("behind-discarded");
  await node.admin.ok("POST", `/deliveries/${String(delivery?.id)}/discard`, {});
  await peer.listen();
  await untilState(behind, "delivered");
  assert.equal(arrivalsOf(object), []);
  assert.is((await node.admin.ok("GET", `/deliveries/${String(delivery?.id)}`)).state, "discarded");
});

test("a refusal that is not permanent for the activity is none: the peer's 401, 403 peer_not_approved and 429", async () => {
  const { node, peer } = pair;
  for (const answer of [
    { status: 401, body: { code: "signature_key" } },
    { status: 403, body: { code: "peer_not_approved" } },
    { status: 429, body: { code: "rate_limited" } },
    { status: 404, body: "not a problem document" },
  ]) {
    const object = await sealProject(pair.owner, {
      code: `temporary-${answer.status}`,
      grants: [{ to: pair.grantee }],
    });
    let refusing = true;
    answerFor([object], async ({ activity }) =>
      refusing ? answer : { status: 202, body: { receipt: await peer.receiptFor(activity, node.origin) } },
    );
    await pair.owner.rest.ok("POST", "/projects", { object });
    const delivery = await until("it was tried twice", async () => {
      return arrivalsOf(object).length >= 2 ? await deliveryOf(object) : null;
    });
    assert.is(delivery.state, "queued", `${answer.status}`);
    refusing = false;
    await untilState(object, "delivered");
  }
});

test("a 2xx without a valid receipt is no delivery, whatever is wrong with the receipt", async () => {
  const { node, peer } = pair;
  await using other = await startPeer();
  const receiptBy = (activity: Json, members: Json = {}) => peer.receiptFor(activity, node.origin, members);
  const answers: readonly (readonly [string, (activity: Json) => Promise<unknown>])[] = [
    ["receipt_missing", async () => ({})],
    ["receipt_receipt_shape", async () => ({ receipt: "nothing" })],
    ["receipt_digest", async (activity) => ({ receipt: await receiptBy(activity, { digest: "A".repeat(43) }) })],
    [
      "receipt_activity",
      async (activity) => ({ receipt: await receiptBy(activity, { activity: `${node.origin}/activities/x` }) }),
    ],
    [
      "receipt_clock",
      async (activity) => {
        const received = new Date(Date.now() + 400 * 86_400_000).toISOString();
        return { receipt: await receiptBy(activity, { received }) };
      },
    ],
    ["receipt_to", async (activity) => ({ receipt: await receiptBy(activity, { to: other.origin }) })],
    [
      "receipt_key_unknown",
      async (activity) => ({ receipt: await other.receiptFor(activity, node.origin, { iss: peer.origin }) }),
    ],
  ];
  for (const [code, body] of answers) {
    const object = await sealProject(pair.owner, { code, grants: [{ to: pair.grantee }] });
    let lying = true;
    answerFor([object], async ({ activity }) => ({
      status: 202,
      body: lying ? await body(activity) : { receipt: await receiptBy(activity) },
    }));
    await pair.owner.rest.ok("POST", "/projects", { object });
    const delivery = await until("it was tried twice", async () => {
      const seen = arrivalsOf(object).length >= 2 ? await deliveryOf(object) : null;
      return seen?.last_error ? seen : null;
    });
    assert.is(delivery.state, "queued", code);
    assert.is(delivery.receipt, false);
    assert.is((delivery.last_error as Json).code, code);
    lying = false;
    await untilState(object, "delivered");
  }
});

test("`stale` for what we hold as our newest is an alarm and no delivery; for an older revision it is one", async () => {
  const { node, peer, owner, grantee } = pair;
  const object = await sealProject(owner, { code: "stale", grants: [{ to: grantee }] });
  answerFor([object], async ({ activity }) => ({
    status: 202,
    body: { receipt: await peer.receiptFor(activity, node.origin, { effect: "stale", revision: 9 }) },
  }));
  const { id } = await owner.rest.ok("POST", "/projects", { object });
  const dead = await untilState(object, "dead");
  assert.is((dead.last_error as Json).code, "receipt_stale");

  // With a newer revision of our own, `stale` for the first one says nothing of lost history.
  answerFor([object], async ({ activity }) => ({
    status: 202,
    body: {
      receipt: await peer.receiptFor(
        activity,
        node.origin,
        activity.type === "Create" ? { effect: "stale", revision: 2 } : {},
      ),
    },
  }));
  const next = await sealNext(owner, object, { grants: [{ to: grantee }] });
  await owner.rest.ok("PATCH", `/projects/${String(id)}`, { object: next });
  await node.admin.ok("POST", `/deliveries/${String(dead.id)}/retry`, {});
  await untilState(object, "delivered");
});

test("what was withdrawn before it was sent is not sent any more", async () => {
  const { node, peer, owner, grantee } = pair;
  await peer.close();
  const object = await sealProject(owner, { code: "withdrawn", grants: [{ to: grantee }] });
  const { id } = await owner.rest.ok("POST", "/projects", { object });
  const next = await sealNext(owner, object, { grants: [] });
  await owner.rest.ok("POST", `/projects/${String(id)}/unshare`, { object: next });
  await peer.listen();
  await settle(node);
  const arrived = peer.arrivals.filter(
    (arrival) => concerns(arrival, object) || (arrival.activity.target as unknown) === object.id,
  );
  assert.equal(
    arrived.map(({ activity }) => activity.type),
    ["Remove"],
  );
});

/** Two projects wait for the peer; the answer to the first is held back until `release`. */
async function holdFirstOfTwo(names: readonly [string, string]) {
  const { node, peer } = pair;
  await peer.close();
  const [first, second] = [await share(names[0]), await share(names[1])];
  let release: () => void = () => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  answerFor([first], async ({ activity }) => {
    await released;
    return { status: 202, body: { receipt: await peer.receiptFor(activity, node.origin) } };
  });
  await peer.listen();
  await until("the first is under way", () => arrivalsOf(first).length === 1);
  return { second, release };
}

test("what is withdrawn while the one before it is under way is not sent any more", async () => {
  const { node, peer, owner } = pair;
  const { second, release } = await holdFirstOfTwo(["under-way", "withdrawn-late"]);
  const [{ id } = {}] = await owner.rest.list(`/projects?uri=${encodeURIComponent(String(second.id))}`);
  const next = await sealNext(owner, second, { grants: [] });
  await owner.rest.ok("POST", `/projects/${String(id)}/unshare`, { object: next });
  release();
  await settle(node);
  assert.equal(arrivalsOf(second), []);
  const targets = peer.arrivals.filter(({ activity }) => (activity.target as unknown) === second.id);
  assert.equal(
    targets.map(({ activity }) => activity.type),
    ["Remove"],
  );
});

test("a peer that is suspended while one is under way gets nothing more until it is resumed", async () => {
  const { node, peer } = pair;
  const { second, release } = await holdFirstOfTwo(["before-suspension", "after-suspension"]);
  const path = `/peers/${String((await findPeer(node, peer.origin))?.id)}`;
  await node.admin.ok("POST", `${path}/suspend`, {});
  release();
  await until("the first is delivered", async () => (await readLane(pair)).depth === 1);
  await until("nobody drains the lane", async () => (await readLane(pair)).state === "held");
  assert.equal(arrivalsOf(second), []);
  await node.admin.ok("POST", `${path}/resume`, {});
  await settle(node);
  assert.is(arrivalsOf(second).length, 1);
});

leased("is ended by its own next start, however long it would have held", async () => {
  const killed = await startPair({ child: true });
  const { node, peer } = killed;
  let holding: NodeJS.Timeout | undefined;
  try {
    peer.answerWith(() => new Promise(() => {}));
    const object = await share("killed", killed);
    await until("it is being delivered", () => arrivalsOf(object, killed).length === 1);
    await node.kill();
    const [lane] = await node.query("select locked_by from lanes where locked_by is not null");
    const hold = `update lanes set locked_until = clock_timestamp() + interval '4 seconds' where locked_by = '${lane?.locked_by}'`;
    // As if it never ran out.
    holding = setInterval(() => void node.query(hold), 500);
    peer.answerWith(undefined);
    await node.start();
    await until("it is delivered", () => arrivalsOf(object, killed).length === 2);
    await settle(node);
    assert.is(arrivalsOf(object, killed)[0]?.activity.id, arrivalsOf(object, killed)[1]?.activity.id);
  } finally {
    clearInterval(holding);
    await Promise.all([node, peer].map((part) => part[Symbol.asyncDispose]()));
  }
});

test.run();
leased.run();
