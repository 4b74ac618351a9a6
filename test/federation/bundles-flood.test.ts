// time limit: 240 s
import * as assert from "uvu/assert";
import { createKeyBundle } from "../../src/crypto/key-bundle.ts";
import { createMembership } from "../../src/crypto/membership.ts";
import { startNode, type TestNode } from "../harness/node.ts";
import { approveScripted, type ScriptedPeer, startPeer } from "../harness/peer.ts";
import { joinPlatform, makePlatformKeys, type PlatformKeys, type TestPlatform } from "../harness/platform.ts";
import type { Json } from "../harness/rest.ts";
import { freshDatabaseUrl } from "../harness/servers.ts";
import { suite } from "../harness/suite.ts";
import { pause } from "../harness/until.ts";
import { sendRequest } from "../harness/wire.ts";

/** A peer that passes on more key bundles than any platform has: what it costs stays bounded, the rest stands. */
const test = suite("floods of key bundles");

const lifetime = 365 * 86_400;
const now = () => Math.floor(Date.now() / 1000);

let node: TestNode;
let peer: ScriptedPeer;
let reader: TestPlatform;
let keys: PlatformKeys;
/** One chain under one identity; a bundle names no actor, so it serves every platform of this test. */
let chain: Json[];

test.before(async () => {
  const store = (await freshDatabaseUrl()) === undefined ? "pglite" : "postgres";
  // In a process of its own, so that only its own work can keep it from answering.
  [node, peer] = await Promise.all([startNode({ store, child: true }), startPeer()]);
  await approveScripted(node, peer);
  reader = await joinPlatform(node, "reader");
  keys = await makePlatformKeys(`${peer.origin}/platforms/p0`);
  chain = [keys.bundle];
  while (chain.length < 200) {
    const previous = chain.at(-1) as Json;
    chain.push(await createKeyBundle({ ...keys, previous, recovery: null, now: now(), lifetime }));
  }
});
test.after(async () => {
  await Promise.all([node, peer].map((part) => part[Symbol.asyncDispose]()));
});

const platformUri = (number: number) => `${peer.origin}/platforms/p${number}`;

async function itemOf(actor: string, bundles: readonly Json[]): Promise<Json> {
  const membership = await createMembership({ actor, identity: keys.identity, now: now(), lifetime });
  return { actor, membership, bundles };
}

/** The directory entry of a platform with these items; meanwhile the node answers others. Gives the receipt's effect. */
async function introduce(number: number, items: readonly Json[]): Promise<unknown> {
  const id = platformUri(number);
  const object = { id, type: "Organization", name: `Platform ${number}`, preferredUsername: `p${number}` };
  const activity = peer.activity({ type: "Update", actor: id, object, "hf:bundles": items });
  let answered = false;
  const sending = peer.post(node.origin, activity, { keyId: peer.keyId }).finally(() => {
    answered = true;
  });
  do {
    const health = sendRequest(node.origin, { method: "GET", path: "/health", headers: [] });
    assert.is(await Promise.race([health.then(({ status }) => status), pause(1_000)]), 200, "/health within a second");
    await pause(10);
  } while (!answered);
  const { status, body } = await sending;
  assert.is(status, 202);
  return (JSON.parse(Buffer.from(String(body.receipt).split(".")[1] ?? "", "base64url").toString()) as Json).effect;
}

async function bundlesOf(number: number): Promise<number> {
  const found = (await reader.rest.list("/platforms/recipients")).find(({ uri }) => uri === platformUri(number));
  const { items } = await reader.rest.ok("GET", `/platforms/${String(found?.id)}/key-bundles?from=1`);
  return (items as Json[]).length;
}

const refusals = async () =>
  (await node.admin.list("/audit"))
    .filter(({ action }) => action === "bundle.refused")
    .map(({ actor, code }) => `${String(actor).split("/").at(-1)} ${String(code)}`)
    .sort();

test("an item of 200 bundles is left out and journaled; what it came with is applied", async () => {
  assert.is(await introduce(0, [await itemOf(platformUri(0), chain)]), "applied");
  assert.is(await bundlesOf(0), 0);
  assert.equal(await refusals(), ["p0 bundles_too_many"]);
});

test("of an activity full of bundles 1,000 are judged, the items after them are left out and journaled", async () => {
  const numbers = Array.from({ length: 12 }, (_, at) => at + 1);
  const items = await Promise.all(numbers.map((number) => itemOf(platformUri(number), chain.slice(0, 100))));
  for (const number of [10, 11]) await introduce(number, []);
  assert.is(await introduce(1, items), "applied");
  assert.is(await bundlesOf(1), 100);
  assert.is(await bundlesOf(10), 100);
  assert.is(await bundlesOf(11), 0);
  const added = ["p11 bundles_too_many", "p12 bundles_too_many"];
  assert.equal(await refusals(), ["p0 bundles_too_many", ...added]);
});

test("of an activity full of bad items twenty are looked at", async () => {
  const items = Array.from({ length: 1_000 }, (_, at) => ({ actor: platformUri(100 + at) }));
  assert.is(await introduce(20, items), "applied");
  assert.is((await refusals()).length, 23);
});

test("a history that grew beyond one item goes on from its newest", async () => {
  assert.is(await introduce(1, [await itemOf(platformUri(1), chain.slice(99, 199))]), "applied");
  assert.is(await introduce(1, [await itemOf(platformUri(1), [chain[0] as Json, ...chain.slice(198)])]), "applied");
  assert.is(await bundlesOf(1), 200);
  assert.is((await refusals()).length, 23);
});

test.run();
