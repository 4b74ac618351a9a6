import * as assert from "uvu/assert";
import { sealObject } from "../../src/crypto/envelope.ts";
import { mintId } from "../../src/protocol/ids.ts";
import { findPeer, startNode, type TestNode } from "../harness/node.ts";
import { approveScripted, type ScriptedPeer, startPeer } from "../harness/peer.ts";
import {
  joinPlatform,
  makePlatformKeys,
  type PlatformKeys,
  readProject,
  sealEdit,
  sealNext,
  sealProject,
  type TestPlatform,
} from "../harness/platform.ts";
import { assertRefused, type Trace, untilQuiet } from "../harness/refusal.ts";
import type { Json } from "../harness/rest.ts";
import { freshDatabaseUrl } from "../harness/servers.ts";
import { type FormKnobs, postIn, type SignatureForm } from "../harness/signature-form.ts";
import { suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";
import type { Answer } from "../harness/wire.ts";

/** Rightly signed activities that are refused for what they ask, and strangers. */
export function testRefusedActivities(form: SignatureForm): void {
  const test = suite(`refusals, ${form}: origins, content and strangers`);

  let node: TestNode;
  let peer: ScriptedPeer;
  let stranger: ScriptedPeer;
  let reader: TestPlatform;
  /** Has access at another time, or never. */
  let later: TestPlatform;
  /** Platforms of the scripted peer. */
  let chu: PlatformKeys;
  let clinic: PlatformKeys;
  /** A project of `chu` that the node holds at revision 2. */
  let first: Json;
  let held: Json;

  const foreign = "http://127.0.0.1:9";

  test.before(async () => {
    const store = (await freshDatabaseUrl()) === undefined ? "pglite" : "postgres";
    const environment = { CONCORDAT_TRUST_PROXY: "127.0.0.0/8" };
    [node, peer, stranger] = await Promise.all([startNode({ store, environment }), startPeer(), startPeer()]);
    await approveScripted(node, peer);
    await untilQuiet(node);
    reader = await joinPlatform(node, "reader");
    later = await joinPlatform(node, "later");
    chu = await makePlatformKeys(`${peer.origin}/platforms/chu`);
    clinic = await makePlatformKeys(`${peer.origin}/platforms/clinic`);
    first = await sealProject(chu, { code: "HELD", grants: [{ to: reader }] });
    held = await sealNext(chu, first, { grants: [{ to: reader }] });
    assert.is((await send(create(held))).status, 202);
  });
  test.after(async () => {
    await Promise.all([node, peer, stranger].map((part) => part[Symbol.asyncDispose]()));
  });

  const create = (object: Json, members: Json = {}): Json =>
    peer.activity({ type: "Create", actor: object.attributedTo, to: [reader.uri], object, ...members });
  /** Signed by the key of the activity's actor. */
  const send = (activity: Json, knobs: FormKnobs = {}) =>
    postIn(form, peer, node.origin, activity, { signer: String(activity.actor), ...knobs });
  const sendAs = (sender: ScriptedPeer, activity: Json, knobs: FormKnobs = {}) =>
    postIn(form, sender, node.origin, activity, knobs);

  const refuse = (name: string, status: number, code: string, make: () => Promise<Json> | Json) =>
    test(`${name}: ${status} ${code}`, async () => {
      const activity = await make();
      await assertRefused(node, peer, { status, code, trace: "entry" }, () => send(activity));
    });
  const project = (code: string, clear: Json = {}) => sealProject(chu, { code, grants: [{ to: reader }], clear });
  const resealed = async (object: Json, members: Json, recipients = [chu, reader], sender = chu): Promise<Json> =>
    await sealObject({
      object: { ...object, ...members },
      sender: sender.uri,
      identity: sender.identity,
      recipients: recipients.map(({ encryption }) => encryption.publicJwk),
      content: {},
      prev: null,
      now: new Date(),
    });

  test("a platform's key for another platform's activity: 403 actor_mismatch", async () => {
    const activity = create(await project("B"));
    const expected = { status: 403, code: "actor_mismatch", trace: "entry" as const };
    await assertRefused(node, peer, expected, () => send(activity, { signer: clinic.uri }));
  });
  test("the instance's key serves every platform of its origin", async () => {
    const answer = await send(create(await project("C")), { signer: peer.actor });
    assert.is(answer.status, 202);
  });
  test("an actor of another origin: 403 actor_mismatch", async () => {
    const activity = peer.activity({ type: "Like", actor: `${foreign}/actor`, object: `${peer.origin}/x` });
    const expected = { status: 403, code: "actor_mismatch", trace: "entry" as const };
    await assertRefused(node, peer, expected, () => send(activity, { signer: peer.actor }));
  });
  refuse("an activity id of another origin", 403, "foreign_id", () =>
    peer.activity({ type: "Like", id: `${foreign}/activities/1`, object: `${peer.origin}/x` }),
  );
  refuse("a project of another origin", 403, "foreign_id", async () =>
    create(await project("D", { id: mintId(foreign, "projects") })),
  );
  refuse("a project id on the receiver's origin", 403, "foreign_id", async () =>
    create(await project("E", { id: mintId(node.origin, "projects") })),
  );
  refuse("a deletion of another origin's object", 403, "foreign_id", () =>
    peer.activity({ type: "Delete", actor: chu.uri, object: mintId(foreign, "projects") }),
  );
  refuse("a withdrawal from another origin's object", 403, "foreign_id", () =>
    peer.activity({
      type: "Remove",
      actor: chu.uri,
      object: reader.uri,
      target: mintId(foreign, "projects"),
      "hf:revision": 2,
    }),
  );

  refuse("attributedTo that is not the actor", 403, "not_owner", async () =>
    create(await project("F"), { actor: clinic.uri }),
  );
  refuse("an update of another platform's project", 403, "not_owner", async () => {
    const object = await resealed(held, { attributedTo: clinic.uri, "hf:revision": 3 }, [clinic, reader], clinic);
    return create(object, { type: "Update" });
  });
  refuse("a deletion by another platform", 403, "not_owner", () =>
    peer.activity({ type: "Delete", actor: clinic.uri, object: held.id }),
  );
  refuse("a withdrawal by another platform", 403, "not_owner", () =>
    peer.activity({ type: "Remove", actor: clinic.uri, object: reader.uri, target: held.id, "hf:revision": 3 }),
  );

  refuse("a project for nobody here", 403, "not_for_us", async () =>
    create(await sealProject(chu, { code: "G", grants: [{ to: clinic }] })),
  );
  refuse("a withdrawal of a platform that is not here", 403, "not_for_us", () =>
    peer.activity({ type: "Remove", actor: chu.uri, object: clinic.uri, target: held.id, "hf:revision": 3 }),
  );
  refuse("a Follow of somebody else", 403, "not_for_us", () =>
    peer.activity({ type: "Follow", object: `${foreign}/actor` }),
  );

  refuse("the same activity id with other content", 409, "content_conflict", async () => {
    const activity = create(await project("H"));
    assert.is((await send(activity)).status, 202);
    return { ...activity, summary: "changed" };
  });
  refuse("the same revision with other content", 409, "content_conflict", async () =>
    create(await resealed(held, { name: "Other" }), { type: "Update" }),
  );

  refuse("no envelope", 422, "envelope_missing", async () => {
    const { "hf:sealed": _, ...clear } = await project("I");
    return create(clear);
  });
  for (const [name, change] of [
    ["a further member", (sealed: Json) => ({ ...sealed, unprotected: {} })],
    [
      "another algorithm",
      (sealed: Json) => ({
        ...sealed,
        protected: Buffer.from('{"enc":"A128GCM","alg":"ECDH-ES+A256KW"}').toString("base64url"),
      }),
    ],
    [
      "zip",
      (sealed: Json) => ({
        ...sealed,
        protected: Buffer.from('{"enc":"A256GCM","alg":"ECDH-ES+A256KW","zip":"DEF"}').toString("base64url"),
      }),
    ],
    ["a short tag", (sealed: Json) => ({ ...sealed, tag: "AAAA" })],
    ["no recipients", (sealed: Json) => ({ ...sealed, recipients: [] })],
    [
      "a recipient twice",
      (sealed: Json) => ({
        ...sealed,
        recipients: [...(sealed.recipients as Json[]), (sealed.recipients as Json[])[0]],
      }),
    ],
    [
      "an ephemeral key of small order",
      (sealed: Json) => ({
        ...sealed,
        recipients: (sealed.recipients as { header: Json }[]).map((recipient) => ({
          ...recipient,
          header: {
            ...recipient.header,
            epk: { kty: "OKP", crv: "X25519", x: Buffer.alloc(32).toString("base64url") },
          },
        })),
      }),
    ],
  ] as const) {
    refuse(`an envelope with ${name}`, 422, "envelope_shape", async () => {
      const object = await project(`J ${name}`);
      return create({ ...object, "hf:sealed": change(object["hf:sealed"] as Json) });
    });
  }
  refuse("an envelope of another object", 422, "envelope_binding", async () => {
    const [one, other] = [await project("K"), await project("L")];
    return create({ ...one, "hf:sealed": other["hf:sealed"] });
  });
  refuse("an envelope of another revision", 422, "envelope_binding", async () =>
    create({ ...held, "hf:revision": 3 }, { type: "Update" }),
  );
  refuse("an envelope sealed by a stranger", 422, "envelope_binding", async () =>
    create(await resealed(await project("M"), {}, [chu, reader], clinic)),
  );
  refuse("an envelope without the grantee", 422, "recipients_missing", async () =>
    create(await resealed(await project("N"), {}, [chu, clinic])),
  );
  test("who has a grant that is over, or has not begun, need not be sealed for", async () => {
    const past = { to: later, from: "2026-01-01T00:00:00Z", expires: "2026-02-01T00:00:00Z" };
    for (const [code, grant] of [
      ["N-over", past],
      ["N-ahead", { to: later, from: "2099-01-01T00:00:00Z" }],
    ] as const) {
      const sealed = await sealProject(chu, { code, grants: [{ to: reader }, grant] });
      const object = await resealed(sealed, {}, [chu, reader]);
      const answer = await send(create(object));
      assert.is(answer.status, 202, JSON.stringify(answer.body));
      assert.ok(await readProject(reader, String(object.id)));
      assert.is(await readProject(later, String(object.id)), undefined);
    }
  });
  refuse("a member that must not be in clear", 422, "clear_field_refused", async () =>
    create(await project("O", { summary: "Patients of ward 3" })),
  );
  refuse("people in clear", 422, "clear_field_refused", async () =>
    create(await project("P", { "hf:people": [{ name: "Anne" }] })),
  );
  test("an unknown member under a newer protocol is kept, and shown as it came", async () => {
    const object = await project("Q", { "hf:tomorrow": 1 });
    assert.is((await send(create(object, { "hf:protocol": 2 }))).status, 202);
    assert.equal((await readProject(reader, String(object.id)))?.object, object);
  });

  /** Of two faults the one that comes first in the order of judgement is told. */
  refuse("order: origin rules before conflicts", 403, "not_owner", () =>
    create({ ...held, name: "Other" }, { type: "Update", actor: clinic.uri }),
  );
  refuse("order: conflict before content", 409, "content_conflict", () => {
    const { "hf:sealed": _, ...clear } = held;
    return create({ ...clear, summary: "x" }, { type: "Update" });
  });

  test("a lower revision is acknowledged as stale, naming the one held", async () => {
    const before = await readProject(reader, String(held.id));
    const answer = await send(create(first));
    assert.is(answer.status, 202);
    const receipt = payloadOf(answer);
    assert.is(receipt.effect, "stale");
    assert.is(receipt.revision, 2);
    assert.equal(await readProject(reader, String(held.id)), before);
  });

  test("a tombstone is final: what comes after it is stale, and it is kept for objects that never came", async () => {
    const object = await project("R");
    const removal = peer.activity({ type: "Delete", actor: chu.uri, object: object.id });
    assert.is(payloadOf(await send(removal)).effect, "applied");
    assert.is(payloadOf(await send(create(object))).effect, "stale");
    assert.is(await readProject(reader, String(object.id)), undefined);
  });

  test("a withdrawal that comes before the snapshot holds for lower revisions, a higher one grants again", async () => {
    const object = await project("S");
    const next = await sealNext(chu, object, { grants: [{ to: clinic }] });
    assert.is(next["hf:revision"], 2);
    const removal = peer.activity({
      type: "Remove",
      actor: chu.uri,
      object: reader.uri,
      target: object.id,
      "hf:revision": 2,
    });
    assert.is(payloadOf(await send(removal)).effect, "applied");
    assert.is(payloadOf(await send(create(object))).effect, "stale");
    assert.is(await readProject(reader, String(object.id)), undefined);
    const again = await sealNext(chu, next, { grants: [{ to: reader }] });
    assert.is(payloadOf(await send(create(again, { type: "Update" }))).effect, "applied");
    assert.is((await readProject(reader, String(object.id)))?.revision, 3);
  });

  test("types that nobody handles are kept with a receipt and have no effect", async () => {
    assert.is(payloadOf(await send(peer.activity({ type: "Arrive", object: `${peer.origin}/x` }))).effect, "unhandled");
  });
  test("what is undone, accepted or rejected besides a Follow has no effect; a Follow that is not ours is refused", async () => {
    for (const type of ["Undo", "Accept", "Reject"]) {
      const object = { id: `${peer.origin}/likes/1`, type: "Like", actor: peer.actor };
      assert.is(payloadOf(await send(peer.activity({ type, object }))).effect, "unhandled");
      const other = await send(peer.activity({ type, object: { ...object, type: "Follow" } }));
      assert.equal([other.status, other.body.code], [409, "state_conflict"]);
      // A newer protocol may accept and undo more than we know of.
      const tomorrow = peer.activity({ type, object: object.id, "hf:protocol": 2 });
      assert.is(payloadOf(await send(tomorrow)).effect, "unhandled");
    }
  });
  test("a shape that only a newer protocol knows has no effect, and at our own it is refused", async () => {
    const remove = { type: "Remove", actor: chu.uri, object: reader.uri, target: `${peer.origin}/collections/1` };
    assert.is(payloadOf(await send(peer.activity({ ...remove, "hf:protocol": 2 }))).effect, "unhandled");
    assert.is((await send(peer.activity(remove))).body.code, "malformed_activity");
  });
  test("an owner's revision that comes behind a grantee's edit is kept beside it, for vaults without history", async () => {
    const grants = [{ to: reader }, { to: clinic, mode: "editable" as const }];
    const first = await sealProject(chu, { code: "T", grants });
    const edited = await sealEdit(clinic, chu, first, { grants });
    assert.is(payloadOf(await send(create(edited, { type: "Update" }))).effect, "applied");
    assert.is((await readProject(reader, String(first.id)))?.owner_object, undefined);
    assert.is(payloadOf(await send(create(first))).effect, "stale");
    const shown = await readProject(reader, String(first.id));
    assert.equal([shown?.object, shown?.owner_object], [edited, first]);
  });
  test("a proof or a signature inside the body is no signature of the request", async () => {
    for (const inside of [
      { proof: { type: "DataIntegrityProof", cryptosuite: "eddsa-jcs-2022", proofValue: "z1" } },
      { signature: { type: "RsaSignature2017", creator: peer.keyId, signatureValue: "AAAA" } },
    ]) {
      const activity = peer.activity({ type: "Like", object: `${peer.origin}/notes/1`, ...inside });
      const unsigned = await send(activity, { unsigned: true });
      assert.equal([unsigned.status, unsigned.body.code], [401, "signature_missing"]);
      assert.is((await send(activity)).status, 202);
    }
    assert.ok(peer.arrivals.length > 0);
    assert.not.ok(peer.arrivals.some(({ activity }) => "proof" in activity || "signature" in activity));
  });

  const payloadOf = ({ body }: Answer): Json =>
    JSON.parse(Buffer.from(String(body.receipt).split(".")[1] ?? "", "base64url").toString()) as Json;

  // ---- strangers -------------------------------------------------------------------------------------------------------

  let addresses = 0;
  /** Each from an address of its own, as the trusted proxy says, so that none is refused for another's number. */
  const fromAddress = (): readonly (readonly [string, string])[] => {
    addresses += 1;
    return [["X-Forwarded-For", `198.51.100.${addresses}`]];
  };
  const refuseStranger = (
    name: string,
    status: number,
    code: string,
    trace: Trace,
    make: () => Json | Promise<Json>,
    knobs: FormKnobs = {},
  ) =>
    test(`a stranger's ${name}: ${status} ${code}`, async () => {
      const activity = await make();
      await assertRefused(node, stranger, { status, code, trace }, () =>
        sendAs(stranger, activity, { headers: fromAddress(), ...knobs }),
      );
    });
  const strangers = (members: Json): Json => stranger.activity(members);

  refuseStranger("Create", 403, "peer_not_approved", "count", async () => {
    const keys = await makePlatformKeys(`${stranger.origin}/actor`);
    return strangers({ type: "Create", object: await sealProject(keys, { code: "X", grants: [{ to: reader }] }) });
  });
  for (const type of ["Like", "Accept", "Reject", "Delete", "Announce"]) {
    refuseStranger(type, 403, "peer_not_approved", "count", () => strangers({ type, object: `${node.origin}/actor` }));
  }
  refuseStranger(
    "Follow without a signature",
    401,
    "signature_missing",
    "count",
    () => strangers({ type: "Follow", object: `${node.origin}/actor` }),
    { unsigned: true },
  );
  refuseStranger("Follow of somebody else", 403, "not_for_us", "count", () =>
    strangers({ type: "Follow", object: `${foreign}/actor` }),
  );
  refuseStranger("Follow for another actor", 403, "actor_mismatch", "count", () =>
    strangers({ type: "Follow", actor: `${foreign}/actor`, object: `${node.origin}/actor` }),
  );
  refuseStranger("Follow with a foreign id", 403, "foreign_id", "count", () =>
    strangers({ type: "Follow", id: `${foreign}/activities/1`, object: `${node.origin}/actor` }),
  );
  refuseStranger(
    "Follow with a wrong digest",
    401,
    "signature_digest",
    "count",
    () => strangers({ type: "Follow", object: `${node.origin}/actor` }),
    { tamper: (body) => Buffer.concat([body, Buffer.from(" ")]) },
  );
  refuseStranger(
    "Follow whose signature does not cover its digest",
    401,
    "signature_coverage",
    "count",
    () => strangers({ type: "Follow", object: `${node.origin}/actor` }),
    { digestUncovered: true },
  );
  refuseStranger("activity beyond 64 KiB", 413, "too_large", "none", () =>
    strangers({ type: "Like", object: `${stranger.origin}/x`, filling: "x".repeat(64 * 1024) }),
  );
  refuseStranger(
    "signature with a wrong key: not approved comes first",
    403,
    "peer_not_approved",
    "count",
    () => strangers({ type: "Like", object: `${stranger.origin}/x` }),
    { tamper: (body) => Buffer.concat([body, Buffer.from(" ")]) },
  );

  test("a stranger's refusals of one minute from one address share one entry that counts", async () => {
    const headers = fromAddress();
    const address = headers[0]?.[1];
    const entriesOf = async () => (await node.admin.list("/audit")).filter((entry) => entry.address === address);
    for (let sent = 0; sent < 5; sent += 1) {
      const answer = await sendAs(stranger, strangers({ type: "Like", object: `${stranger.origin}/x` }), {
        headers,
      });
      assert.is(answer.body.code, "peer_not_approved");
    }
    const entries = await entriesOf();
    assert.is(
      entries.reduce((sum, { count }) => sum + Number(count), 0),
      5,
    );
    // Two where a minute ended in between.
    assert.ok(entries.length <= 2);
  });

  test("a stranger's Follow is taken without a receipt and without asking it anything; forged ones cannot be approved", async () => {
    await using liar = await startPeer();
    const follow = liar.activity({ type: "Follow", object: `${node.origin}/actor` });
    const answer = await sendAs(liar, follow, { otherKey: true, headers: fromAddress() });
    assert.is(answer.status, 202);
    assert.equal(answer.body, {});
    assert.equal(liar.requests, []);
    const pending = await findPeer(node, liar.origin);
    assert.is(pending?.state, "pending_in");
    const opened = await node.admin.ok("POST", `/peers/${String(pending?.id)}/open`, {});
    assert.is(opened.signature_verified, false);
    const approved = await node.admin.call("POST", `/peers/${String(pending?.id)}/approve`, {});
    assert.is(approved.status, 409);
    assert.is(approved.body.code, "state_conflict");
    assert.is((await findPeer(node, liar.origin))?.state, "pending_in");
  });

  test("of one origin's Follows the newest three are kept; one peer is shown", async () => {
    for (let sent = 0; sent < 5; sent += 1) {
      const follow = strangers({ type: "Follow", object: `${node.origin}/actor` });
      assert.is((await sendAs(stranger, follow, { headers: fromAddress() })).status, 202);
    }
    const shown = (await node.admin.list("/peers")).filter(({ origin }) => origin === stranger.origin);
    assert.is(shown.length, 1);
    if (node.store !== "postgres") return;
    const rows = await node.query(
      `select count(*)::int as kept from follow_requests where origin = '${stranger.origin}'`,
    );
    assert.is(rows[0]?.kept, 3);
  });

  test("an address that asks too often is refused with 429 and Retry-After", async () => {
    const headers = fromAddress();
    const answers: Answer[] = [];
    for (let sent = 0; sent < 12; sent += 1) {
      answers.push(await sendAs(stranger, strangers({ type: "Follow", object: `${node.origin}/actor` }), { headers }));
    }
    const refused = answers.find(({ status }) => status === 429);
    assert.is(refused?.body.code, "rate_limited");
    assert.match(String(refused?.headers["retry-after"]), /^\d+$/);
  });

  test("a peer that asked, and one that was rejected, may still post nothing but a Follow", async () => {
    const { id } = (await findPeer(node, stranger.origin)) as Json;
    const like = () =>
      sendAs(stranger, strangers({ type: "Like", object: `${stranger.origin}/x` }), { headers: fromAddress() });
    assert.is((await like()).body.code, "peer_not_approved");
    await node.admin.ok("POST", `/peers/${String(id)}/open`, {});
    await node.admin.ok("POST", `/peers/${String(id)}/reject`, {});
    await until("the Reject is delivered", () => stranger.arrivals.some(({ activity }) => activity.type === "Reject"));
    assert.is((await like()).body.code, "peer_not_approved");
    const again = await sendAs(stranger, strangers({ type: "Follow", object: `${node.origin}/actor` }), {
      headers: fromAddress(),
    });
    assert.is(again.status, 202);
    assert.is((await findPeer(node, stranger.origin))?.state, "pending_in");
  });

  test("the journal of all these refusals verifies", async () => {
    assert.is((await node.admin.ok("GET", "/audit/verification")).verified, true);
  });

  test.run();
}
