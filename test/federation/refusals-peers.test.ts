// time limit: 240 s
import * as assert from "uvu/assert";
import { encodeMultikey } from "../../src/crypto/keys.ts";
import { findPeer, startNode, type TestNode } from "../harness/node.ts";
import { approveScripted, type ScriptedPeer, startPeer } from "../harness/peer.ts";
import { assertRefused, untilQuiet } from "../harness/refusal.ts";
import type { Json } from "../harness/rest.ts";
import { freshDatabaseUrl } from "../harness/servers.ts";
import { postIn, type SignatureForm, signatureForms } from "../harness/signature-form.ts";
import { suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";
import type { Answer } from "../harness/wire.ts";

/** What a known peer may not do: beyond its policy, its quota, its keys and its state (docs/protocol.md, "Peers"). */
const declare = suite("refusals: peers within their policy");

const store = (await freshDatabaseUrl()) === undefined ? "pglite" : "postgres";
const unlimited = { platforms: "all", activities: "all", per_minute: null, per_day: null };

/** How far the node's clock is ahead. */
let ahead = 0;
let node: TestNode;
let peer: ScriptedPeer;

declare.before(async () => {
  [node, peer] = await Promise.all([startNode({ store, clock: nodeTime }), startPeer()]);
  await approveScripted(node, peer);
  await untilQuiet(node);
});
declare.after(async () => {
  await Promise.all([node, peer].map((part) => part[Symbol.asyncDispose]()));
});

const nodeTime = () => new Date(Date.now() + ahead);
const like = (): Json => peer.activity({ type: "Like", object: `${peer.origin}/notes/1` });

async function setPolicy(of: TestNode, origin: string, policy: Json): Promise<void> {
  const { id } = (await findPeer(of, origin)) as Json;
  await of.admin.ok("PATCH", `/peers/${String(id)}`, { policy: { ...unlimited, ...policy } });
}

/** Quotas count by the minute of the node's clock: a test begins with a minute of its own. */
function beginMinute(): void {
  const now = Date.now() + ahead;
  ahead += 60_000 - (now % 60_000);
}

for (const form of signatureForms) testForm(form);

function testForm(form: SignatureForm): void {
  const test = (name: string, run: Parameters<typeof declare>[1]) => declare(`${form}: ${name}`, run);
  const post = (activity: unknown = like()) => postIn(form, peer, node.origin, activity, { date: nodeTime() });

  test("a key that the peer does not have: its actor is asked, then 401 signature_key", async () => {
    for (const actor of [peer.actor, `${peer.origin}/platforms/chu`]) {
      const activity = peer.activity({ type: "Like", actor, object: `${peer.origin}/notes/1` });
      const knobs = { keyId: `${actor}#other-key` };
      const answer =
        form === "rfc9421"
          ? await peer.postMessage(node.origin, activity, knobs)
          : await peer.post(node.origin, activity, knobs);
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
    // The day is the same for both forms: the other one has used up four.
    ["day", { per_day: form === signatureForms[0] ? 3 : 7 }, 86_400],
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
    await untilQuiet(node);
    const expected = { status: 403, code: "peer_not_approved", trace: "entry" as const };
    for (const type of ["Like", "Create", "Delete", "Undo"]) {
      const activity = asked.activity({ type, object: `${asked.origin}/notes/1` });
      await assertRefused(node, asked, expected, () =>
        postIn(form, asked, node.origin, activity, { date: nodeTime() }),
      );
    }
    assert.is((await findPeer(node, asked.origin))?.state, "pending_out");
    const follow = asked.arrivals.find(({ activity }) => activity.type === "Follow")?.activity;
    const accept = asked.activity({ type: "Accept", object: follow?.id });
    const accepted = await postIn(form, asked, node.origin, accept, { date: nodeTime() });
    assert.is(accepted.status, 202, JSON.stringify(accepted.body));
    assert.is((await findPeer(node, asked.origin))?.state, "approved");
  });
}

declare("an actor with a small RSA key or an Ed25519 key of small order: 422 weak_key", async () => {
  await using small = await startPeer({ rsaBits: 1024 });
  await using order = await startPeer();
  // The point of order 1.
  const x = Buffer.from([1, ...Array(31).fill(0)]).toString("base64url");
  const publicKeyMultibase = encodeMultikey({ kty: "OKP", crv: "Ed25519", x });
  order.changeActor((document) => ({
    ...document,
    assertionMethod: (document.assertionMethod as Json[]).map((key) => ({ ...key, publicKeyMultibase })),
  }));
  for (const { origin } of [small, order]) {
    const answer = await node.admin.call("POST", "/peers", { origin });
    assert.equal([answer.status, answer.body.code], [422, "weak_key"]);
    assert.is(await findPeer(node, origin), undefined);
  }
});

declare("an actor with a foreign URL or without a key: 422 actor_refused", async () => {
  const foreign = "http://127.0.0.1:9";
  await using other = await startPeer();
  for (const change of [
    (document: Json) => ({ ...document, id: `${foreign}/actor` }),
    (document: Json) => ({ ...document, inbox: `${foreign}/inbox` }),
    (document: Json) => ({ ...document, endpoints: { sharedInbox: `${foreign}/inbox` } }),
    (document: Json) => ({ ...document, publicKey: { ...(document.publicKey as Json), owner: `${foreign}/actor` } }),
    (document: Json) => ({ ...document, publicKey: undefined }),
  ]) {
    other.changeActor(change);
    const answer = await node.admin.call("POST", "/peers", { origin: other.origin });
    assert.equal([answer.status, answer.body.code], [422, "actor_refused"]);
    assert.is(await findPeer(node, other.origin), undefined);
  }
});

declare("the journal of all these refusals verifies", async () => {
  assert.is((await node.admin.ok("GET", "/audit/verification")).verified, true);
});

declare.run();
