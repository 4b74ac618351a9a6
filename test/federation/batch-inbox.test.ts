// time limit: 240 s
import * as assert from "uvu/assert";
import { decodeMultikey } from "../../src/crypto/keys.ts";
import { verifyReceipt } from "../../src/crypto/receipts.ts";
import type { Knobs } from "../harness/draft-cavage.ts";
import { findPeer, startNode, type TestNode } from "../harness/node.ts";
import { approveScripted, type ScriptedPeer, startPeer } from "../harness/peer.ts";
import type { Json } from "../harness/rest.ts";
import { suite } from "../harness/suite.ts";
import { type Answer, sendRequest } from "../harness/wire.ts";

/** Batches that come in (docs/protocol.md, "Delivery"): each activity as if it had come alone. */
const test = suite("batch inbox");

let node: TestNode;
let peer: ScriptedPeer;

test.before(async () => {
  [node, peer] = await Promise.all([startNode(), startPeer()]);
  await approveScripted(node, peer);
});
test.after(async () => void (await Promise.all([node[Symbol.asyncDispose](), peer[Symbol.asyncDispose]()])));

const note = (members: Json = {}): Json =>
  peer.activity({ type: "Like", object: `${peer.origin}/notes/1`, ...members });
const postBatch = (items: unknown, knobs: Knobs = {}): Promise<Answer> =>
  peer.post(node.origin, items, { path: "/batch-inbox", ...knobs });
const resultsOf = ({ status, body }: Answer): readonly Json[] => {
  assert.is(status, 200, JSON.stringify(body));
  return body.results as Json[];
};
const problemOf = (result: Json | undefined) => (result?.problem ?? {}) as Json;
const codesOf = (answer: Answer) =>
  resultsOf(answer).map((result) => `${String(result.status)} ${String(problemOf(result).code)}`);

test("is announced by the actor", async () => {
  const answer = await sendRequest(node.origin, { method: "GET", path: "/actor", headers: [] });
  assert.is((answer.body.endpoints as Json)["hf:batchInbox"], `${node.origin}/batch-inbox`);
});

test("answers each activity in order, with a receipt that verifies", async () => {
  const activities = [note(), note(), note()];
  const results = resultsOf(await postBatch(activities));
  assert.equal(
    results.map(({ id, status }) => [id, status]),
    activities.map(({ id }) => [id, 202]),
  );
  const { body } = await sendRequest(node.origin, { method: "GET", path: "/actor", headers: [] });
  const keys = (body.assertionMethod as Json[]).flatMap((key) => decodeMultikey(String(key.publicKeyMultibase)) ?? []);
  for (const [at, activity] of activities.entries()) {
    const expected = { activity, self: peer.origin, peer: node.origin, keys, now: new Date() };
    assert.is((await verifyReceipt(results[at]?.receipt, expected)).accepted, true);
  }
});

test("takes an id for one only where it is one: what no database keeps does not come into the journal", async () => {
  const items = ["a\ud800b", "a\u0000b", "\u001b[2J"].map((id) => JSON.stringify({ id })).join(",");
  const results = resultsOf(await postBatch([], { body: `[${items}]` }));
  assert.equal(
    results.map(({ id, status }) => [id, status]),
    [
      [null, 400],
      [null, 400],
      [null, 400],
    ],
  );
  assert.is((await node.admin.ok("GET", "/audit/verification")).verified, true);
});

test("what cannot be read counts against the quota", async () => {
  const { id } = (await findPeer(node, peer.origin)) as Json;
  const set = (per_minute: number | null) => node.admin.ok("PATCH", `/peers/${String(id)}`, { policy: { per_minute } });
  await set(0);
  assert.equal(codesOf(await postBatch([1, 2])), ["429 rate_limited", "429 rate_limited"]);
  await set(null);
});

test("lets one bad activity hold none of the others, and journals each refusal once", async () => {
  const foreign = note({ id: "http://127.0.0.1:9/activities/1" });
  const malformed = note({ type: 1 });
  const items = [note(), foreign, malformed, "no object", note({ filling: "x".repeat(1024 * 1024) }), note()];
  const refusals = async () => (await node.admin.list("/audit")).filter(({ outcome }) => outcome === "refused");
  const before = await refusals();
  const answer = await postBatch(items);
  assert.equal(codesOf(answer), [
    "202 undefined",
    "403 foreign_id",
    "400 malformed_activity",
    "400 malformed_activity",
    "413 too_large",
    "202 undefined",
  ]);
  assert.equal(
    resultsOf(answer).map(({ id }) => id),
    items.map((item) => (item as Json).id ?? null),
  );
  assert.is((await refusals()).length - before.length, 4);
});

test("judges the strictness of each activity by itself", async () => {
  const good = note();
  const twice = JSON.stringify(note()).replace(/\}$/, ',"a":1,"a":2}');
  const deep = JSON.stringify(note()).replace(/\}$/, `,"x":${'{"x":'.repeat(30)}{}${"}".repeat(30)}}`);
  const tricky = JSON.stringify(note({ content: 'a "],[{" \\' }));
  const body = `[${JSON.stringify(good)} , ${twice},${deep},\n${tricky}]`;
  assert.equal(codesOf(await postBatch([], { body })), [
    "202 undefined",
    "400 malformed_json",
    "202 undefined",
    "202 undefined",
  ]);
});

test("gives an activity that came before, alone or in a batch, the same receipt", async () => {
  const activity = note();
  const alone = await peer.post(node.origin, activity);
  const [first, second] = resultsOf(await postBatch([activity, activity]));
  assert.is(first?.receipt, alone.body.receipt);
  assert.is(second?.receipt, alone.body.receipt);
  const [other] = resultsOf(await postBatch([{ ...activity, content: "other" }]));
  assert.is(problemOf(other).code, "content_conflict");
});

test("charges the quota for each activity and says when to come back", async () => {
  const path = `/peers/${String((await findPeer(node, peer.origin))?.id)}`;
  await node.admin.ok("PATCH", path, { policy: { per_minute: 0 } });
  const [refused] = resultsOf(await postBatch([note()]));
  await node.admin.ok("PATCH", path, { policy: { per_minute: null } });
  assert.is(refused?.status, 429);
  assert.is(problemOf(refused).code, "rate_limited");
  assert.type(problemOf(refused).retry_after, "number");
});

test("takes an empty batch, and one beyond the size of a single activity", async () => {
  assert.equal(resultsOf(await postBatch([])), []);
  const large = Array.from({ length: 3 }, () => note({ filling: "x".repeat(900_000) }));
  assert.equal(
    codesOf(await postBatch(large)),
    large.map(() => "202 undefined"),
  );
});

const hundredAndOne = () => Array.from({ length: 101 }, () => note());
for (const [what, status, code, send] of [
  ["what is no JSON", 400, "malformed_json", () => postBatch([], { body: "[" })],
  ["what is no array", 400, "malformed_json", () => postBatch(note())],
  ["more than 100 activities", 413, "too_large", () => postBatch(hundredAndOne())],
  ["more than 4 MiB", 413, "too_large", () => postBatch([], { body: `[${" ".repeat(4 * 1024 * 1024)}]` })],
  ["another media type", 415, "unsupported_media", () => postBatch([], { mediaType: "text/plain" })],
  ["another method", 405, "method_not_allowed", () => postBatch([], { method: "PUT" })],
  ["another host", 421, "wrong_host", () => postBatch([note()], { host: "other.example" })],
  ["no signature", 401, "signature_missing", () => postBatch([note()], { signature: () => null })],
  ["a body that was changed", 401, "signature_digest", () => postBatch([note()], { tamper: () => Buffer.from("[]") })],
  [
    "a signature by a platform",
    403,
    "actor_mismatch",
    () => postBatch([note()], { keyId: `${peer.origin}/platforms/chu#main-key` }),
  ],
] as const) {
  test(`refuses ${what} as a whole: ${status} ${code}`, async () => {
    const answer = await send();
    assert.is(answer.body.code, code, JSON.stringify(answer.body));
    assert.is(answer.status, status);
  });
}

test("refuses a stranger's batch, also one with a Follow", async () => {
  await using stranger = await startPeer();
  const items = [stranger.activity({ type: "Follow", object: `${node.origin}/actor` })];
  const answer = await stranger.post(node.origin, items, { path: "/batch-inbox" });
  assert.is(answer.body.code, "peer_not_approved");
  assert.is(answer.status, 403);
});

test.run();
