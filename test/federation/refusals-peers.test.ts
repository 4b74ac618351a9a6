// time limit: 240 s
import * as assert from "uvu/assert";
import { findPeer, settle, startNode, type TestNode } from "../harness/node.ts";
import { type Answer, approveScripted, type Knobs, type ScriptedPeer, startPeer } from "../harness/peer.ts";
import { assertRefused } from "../harness/refusal.ts";
import type { Json } from "../harness/rest.ts";
import { freshDatabaseUrl } from "../harness/servers.ts";
import { suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

/** What a known peer may not do: beyond its policy, its quota, its keys and its state (docs/protocol.md, "Peers"). */
const test = suite("refusals: peers within their policy");

const store = (await freshDatabaseUrl()) === undefined ? "pglite" : "postgres";
const unlimited = { platforms: "all", activities: "all", per_minute: null, per_day: null };

/** How far the node's clock is ahead: well within what a signature's date may differ by. */
let ahead = 0;
let node: TestNode;
let peer: ScriptedPeer;

test.before(async () => {
  const clock = () => new Date(Date.now() + ahead);
  [node, peer] = await Promise.all([startNode({ store, clock }), startPeer()]);
  await approveScripted(node, peer);
  await settle(node);
});
test.after(async () => {
  await Promise.all([node, peer].map((part) => part[Symbol.asyncDispose]()));
});

const like = (): Json => peer.activity({ type: "Like", object: `${peer.origin}/notes/1` });
const post = (activity: unknown = like(), knobs: Knobs = {}) => peer.post(node.origin, activity, knobs);

/** Sets a peer's policy in the database: the API for it comes with a later version. */
async function setPolicy(of: TestNode, origin: string, policy: Json): Promise<void> {
  const isPglite = of.store === "pglite";
  if (isPglite) await of.stop();
  await of.query(
    `update peers set policy = '${JSON.stringify({ ...unlimited, ...policy })}' where origin = '${origin}'`,
  );
  if (isPglite) await of.start();
}

/** Quotas count by the minute of the node's clock: a test begins with a minute of its own. */
function beginMinute(): void {
  const now = Date.now() + ahead;
  ahead += 60_000 - (now % 60_000);
}

test("a key that the peer does not have: its actor is asked, then 401 signature_key", async () => {
  for (const actor of [peer.actor, `${peer.origin}/platforms/chu`]) {
    const activity = peer.activity({ type: "Like", actor, object: `${peer.origin}/notes/1` });
    const answer = await post(activity, { keyId: `${actor}#other-key` });
    assert.equal([answer.status, answer.body.code], [401, "signature_key"]);
  }
  assert.is((await findPeer(node, peer.origin))?.state, "approved", "a peer whose keys are as pinned stays one");
});

test("a type that the policy does not admit: 403 peer_policy, and what it admits is taken", async () => {
  await setPolicy(node, peer.origin, { activities: ["Announce"] });
  const expected = { status: 403, code: "peer_policy", trace: "entry" as const };
  await assertRefused(node, peer, expected, () => post());
  const announce = peer.activity({ type: "Announce", object: `${peer.origin}/notes/1` });
  assert.is((await post(announce)).status, 202);
  // Who it is comes before what it may: the policy is nobody else's to learn.
  const foreign = { ...like(), actor: "http://127.0.0.1:9/actor" };
  await assertRefused(node, peer, { status: 403, code: "actor_mismatch", trace: "entry" }, () => post(foreign));
  await setPolicy(node, peer.origin, {});
  assert.is((await post()).status, 202);
});

for (const [name, policy, longest] of [
  ["minute", { per_minute: 3 }, 60],
  ["day", { per_day: 3 }, 86_400],
] as const) {
  test(`the fourth activity of a ${name} that has three: 429 rate_limited with Retry-After`, async () => {
    await setPolicy(node, peer.origin, policy);
    beginMinute();
    for (let sent = 0; sent < 3; sent += 1) assert.is((await post()).status, 202);
    const expected = { status: 429, code: "rate_limited", trace: "entry" as const };
    const refused = like();
    const answer: Answer = await assertRefused(node, peer, expected, () => post(refused));
    const wait = Number(answer.headers["retry-after"]);
    assert.ok(Number.isInteger(wait) && wait >= 1 && wait <= longest, `Retry-After: ${wait}`);
    if (name === "minute") {
      beginMinute();
      assert.is((await post(refused)).status, 202, "the next minute has its own three");
    }
    await setPolicy(node, peer.origin, {});
    assert.is((await post()).status, 202);
  });
}

test("a peer that we asked may answer and ask in turn, and post nothing else: 403 peer_not_approved", async () => {
  await using asked = await startPeer();
  await node.admin.ok("POST", "/peers", { origin: asked.origin });
  await until("the Follow is delivered", () => asked.arrivals.some(({ activity }) => activity.type === "Follow"));
  await settle(node);
  const expected = { status: 403, code: "peer_not_approved", trace: "entry" as const };
  for (const type of ["Like", "Create", "Delete", "Undo"]) {
    const activity = asked.activity({ type, object: `${asked.origin}/notes/1` });
    await assertRefused(node, asked, expected, () => asked.post(node.origin, activity));
  }
  assert.is((await findPeer(node, asked.origin))?.state, "pending_out");
  const follow = asked.arrivals.find(({ activity }) => activity.type === "Follow")?.activity;
  const accepted = await asked.post(node.origin, asked.activity({ type: "Accept", object: follow?.id }));
  assert.is(accepted.status, 202, JSON.stringify(accepted.body));
  assert.is((await findPeer(node, asked.origin))?.state, "approved");
});

test("the journal of all these refusals verifies", async () => {
  assert.is((await node.admin.ok("GET", "/audit/verification")).verified, true);
});

test.run();
