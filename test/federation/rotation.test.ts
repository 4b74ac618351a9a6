// time limit: 180 s
import { createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import * as assert from "uvu/assert";
import type { SigningKey } from "../../src/crypto/jws.ts";
import { encodeMultikey, thumbprint } from "../../src/crypto/keys.ts";
import { createNodeKeyLink } from "../../src/crypto/node-key-chain.ts";
import type { Knobs } from "../harness/draft-cavage.ts";
import { findPeer, makePeers, settle, startNode, type TestNode } from "../harness/node.ts";
import { approveScripted, type ScriptedPeer, startPeer } from "../harness/peer.ts";
import {
  joinPlatform,
  readProject,
  sealNext,
  sealProject,
  type TestPlatform,
  untilKnown,
} from "../harness/platform.ts";
import { type Json, logIn } from "../harness/rest.ts";
import { suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

/** Rotation of node keys between nodes (docs/protocol.md, "Peers"). */
const test = suite("rotation of node keys");

const hour = 3_600_000;
let west: TestNode;
let south: TestNode;
let ouest: TestPlatform;
let sud: TestPlatform;
let shared: Json;
/** How far the clock of `west` is ahead. */
let ahead = 0;

test.before(async () => {
  [west, south] = await Promise.all([
    startNode({ clock: () => new Date(Date.now() + ahead) }),
    startNode({ child: true }),
  ]);
  ouest = await joinPlatform(west, "ouest");
  sud = await joinPlatform(south, "sud");
  await makePeers(west, south);
  await untilKnown(ouest, sud);
  await untilKnown(sud, ouest);
  shared = await sealProject(ouest, { code: "R", grants: [{ to: sud, mode: "editable" }] });
  await ouest.rest.ok("POST", "/projects", { object: shared });
  await untilShared();
});
test.after(async () => {
  await Promise.all([west, south].map((node) => node[Symbol.asyncDispose]()));
});

const untilShared = () =>
  until("the grantee holds the newest revision", async () => {
    return (await readProject(sud, String(shared.id)))?.revision === shared["hf:revision"];
  });
const revise = async () => {
  shared = await sealNext(ouest, shared, { grants: [{ to: sud, mode: "editable" }] });
  const { id } = (await readProject(ouest, String(shared.id))) as Json;
  await ouest.rest.ok("PATCH", `/projects/${String(id)}`, { object: shared });
};
const changesSeen = async (node: TestNode, origin: string) =>
  (await node.admin.list("/audit")).filter(({ action, object }) => action === "peer.keys_changed" && object === origin);
const deadAt = (node: TestNode) => node.admin.list("/deliveries?state=dead");

test("a node that rotated its keys goes on with its peers, in both directions, and nobody approves anything", async () => {
  const before = (await findPeer(west, south.origin))?.fingerprint;
  for (const round of [1, 2]) {
    await south.stop();
    await revise();
    const { fingerprint } = JSON.parse(await south.command("node-keys", "rotate", "--json")) as Json;
    await south.start();
    // Access tokens were signed by the key that is gone.
    sud = { ...sud, rest: await logIn(south.origin, sud.handle, sud.accessKey) };
    await untilShared();
    await settle(west);
    const peer = await findPeer(west, south.origin);
    assert.is(peer?.state, "approved");
    assert.is(peer?.fingerprint, fingerprint, `the new keys are shown after rotation ${round}`);
    assert.is.not(fingerprint, before);
    assert.is((await changesSeen(west, south.origin)).length, round);
  }
  assert.equal([...(await deadAt(west)), ...(await deadAt(south))], []);
  const receipts = await west.admin.list("/receipts?direction=in");
  assert.ok(receipts.length > 3, "with receipts by the old keys and by the new ones");
});

test("what the rotated node sends is taken under its new keys", async () => {
  const later = await joinPlatform(south, "sud-2");
  await untilKnown(ouest, later);
  await settle(south);
  assert.equal(await deadAt(south), []);
});

interface Generation {
  readonly rsa: KeyObject;
  readonly publicKeyPem: string;
  readonly ed25519: SigningKey;
  readonly multibase: string;
}

const makeGeneration = (): Generation =>
  generationOf(
    generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey,
    generateKeyPairSync("ed25519").privateKey,
  );

function generationOf(rsa: KeyObject, ed25519: KeyObject): Generation {
  const { x, d } = ed25519.export({ format: "jwk" }) as { x: string; d: string };
  const publicJwk = { kty: "OKP", crv: "Ed25519", x } as const;
  return {
    rsa,
    publicKeyPem: createPublicKey(rsa).export({ format: "pem", type: "spki" }).toString(),
    ed25519: { kid: thumbprint(publicJwk), privateJwk: { ...publicJwk, d } },
    multibase: encodeMultikey(publicJwk),
  };
}

/** The scripted instance shows these keys from now on, and this chain. */
function showKeys(peer: ScriptedPeer, keys: Generation, suffix: string, chain: readonly string[]): void {
  peer.changeActor((document) => ({
    ...document,
    publicKey: { id: `${peer.actor}#main-key${suffix}`, owner: peer.actor, publicKeyPem: keys.publicKeyPem },
    assertionMethod: [
      {
        id: `${peer.actor}#ed25519-key${suffix}`,
        type: "Multikey",
        controller: peer.actor,
        publicKeyMultibase: keys.multibase,
      },
    ],
    ...(chain.length === 0 ? {} : { "hf:keyChain": chain }),
  }));
}

async function linkTo(
  peer: ScriptedPeer,
  from: Generation,
  next: Generation,
  chain: readonly string[] = [],
): Promise<string> {
  return await createNodeKeyLink({
    origin: peer.origin,
    chain,
    next: { publicKeyPem: next.publicKeyPem, ed25519: next.multibase },
    key: from.ed25519,
    now: Math.floor(Date.now() / 1000),
  });
}

/** A scripted peer, approved, with the keys that it has at first. */
async function startRotating(): Promise<{ readonly peer: ScriptedPeer; readonly first: Generation }> {
  const peer = await startPeer();
  await approveScripted(west, peer);
  await settle(west);
  return { peer, first: generationOf(peer.rsa, peer.ed25519) };
}

const signedBy = (peer: ScriptedPeer, keys: Generation, suffix: string): Knobs => ({
  keyId: `${peer.actor}#main-key${suffix}`,
  privateKey: keys.rsa,
  date: new Date(Date.now() + ahead),
});
const note = (peer: ScriptedPeer) => peer.activity({ type: "Like", object: `${peer.origin}/notes/1` });
const fetches = (peer: ScriptedPeer) => peer.requests.filter((line) => line === "GET /actor").length;

test("many requests under a new key ask the peer's actor once; the old key holds for a day and not longer", async () => {
  const { peer, first } = await startRotating();
  const second = makeGeneration();
  showKeys(peer, second, "-2", [await linkTo(peer, first, second)]);
  const before = fetches(peer);
  const answers = await Promise.all(
    Array.from({ length: 20 }, () => peer.post(west.origin, note(peer), signedBy(peer, second, "-2"))),
  );
  assert.equal(
    answers.map(({ status }) => status),
    answers.map(() => 202),
  );
  assert.is(fetches(peer) - before, 1);
  try {
    ahead = 23 * hour;
    assert.is((await peer.post(west.origin, note(peer), signedBy(peer, first, ""))).status, 202);
    ahead = 25 * hour;
    const late = await peer.post(west.origin, note(peer), signedBy(peer, first, ""));
    assert.is(late.status, 401);
    assert.is(late.body.code, "signature_key");
    assert.is((await peer.post(west.origin, note(peer), signedBy(peer, second, "-2"))).status, 202);
  } finally {
    ahead = 0;
    await peer[Symbol.asyncDispose]();
  }
});

test("an unknown keyid that no rotation explains is refused, and asks the actor a few times at most", async () => {
  const { peer, first } = await startRotating();
  const before = fetches(peer);
  for (let time = 0; time < 12; time += 1) {
    const answer = await peer.post(west.origin, note(peer), signedBy(peer, first, "-9"));
    assert.is(answer.status, 401);
    assert.is(answer.body.code, "signature_key");
  }
  assert.ok(fetches(peer) - before <= 5, `asked ${fetches(peer) - before} times`);
  assert.is((await peer.post(west.origin, note(peer), signedBy(peer, first, ""))).status, 202);
  await peer[Symbol.asyncDispose]();
});

for (const [name, chainOf, reason] of [
  ["without a chain", async () => [], "actor_keys"],
  [
    "whose chain another key signed",
    async (peer: ScriptedPeer, _first: Generation, second: Generation) => [
      await linkTo(peer, makeGeneration(), second),
    ],
    "chain_broken",
  ],
] as const) {
  test(`a peer with new keys ${name} is held until an administrator approves their fingerprint`, async () => {
    const { peer, first } = await startRotating();
    const second = makeGeneration();
    showKeys(peer, second, "-2", await chainOf(peer, first, second));
    const stranger = await peer.post(west.origin, note(peer), signedBy(peer, second, "-2"));
    assert.is(stranger.status, 403);
    assert.is(stranger.body.code, "peer_not_approved");
    const held = (await findPeer(west, peer.origin)) as Json;
    assert.equal([held.state, held.held], ["suspended", reason]);
    assert.is((await peer.post(west.origin, note(peer), signedBy(peer, first, ""))).status, 403, "nor the old key");

    const act = (verb: string, body: Json = {}) => west.admin.call("POST", `/peers/${String(held.id)}/${verb}`, body);
    const resumed = await act("resume");
    assert.is(resumed.status, 409, "a resume would trust the old keys again");
    assert.is(resumed.body.code, "state_conflict");
    const unseen = await act("approve");
    assert.is(unseen.status, 409);
    const { fingerprint } = unseen.body;
    const old = (await act("approve", { fingerprint: held.fingerprint })).body;
    assert.equal(
      [old.code, old.known_fingerprint, old.offered_fingerprint],
      ["fingerprint_mismatch", fingerprint, held.fingerprint],
    );
    const approved = await act("approve", { fingerprint });
    assert.is(approved.status, 200, JSON.stringify(approved.body));
    assert.equal([approved.body.state, approved.body.held], ["approved", null]);
    assert.is((await peer.post(west.origin, note(peer), signedBy(peer, second, "-2"))).status, 202);
    const late = await peer.post(west.origin, note(peer), signedBy(peer, first, ""));
    assert.is(late.body.code, "signature_key", "the keys before count no more");
    await peer[Symbol.asyncDispose]();
  });
}

test("a peer whose chain does not lead to its keys is held, and is nobody's to approve as it is", async () => {
  const { peer, first } = await startRotating();
  const second = makeGeneration();
  showKeys(peer, second, "-2", [await linkTo(peer, first, makeGeneration())]);
  assert.is((await peer.post(west.origin, note(peer), signedBy(peer, second, "-2"))).status, 403);
  const held = (await findPeer(west, peer.origin)) as Json;
  assert.equal([held.state, held.held], ["suspended", "actor_keys"]);
  const answer = await west.admin.call("POST", `/peers/${String(held.id)}/approve`, {});
  assert.is(answer.status, 422);
  assert.is(answer.body.code, "actor_refused");
  await peer[Symbol.asyncDispose]();
});

test("a server that is no Concordat changes its key by an Update of its actor under the old one", async () => {
  const peer = await startPeer({ receipts: false });
  peer.changeActor(({ assertionMethod: _, ...document }) => document);
  await approveScripted(west, peer);
  const second = makeGeneration();
  const document = {
    id: peer.actor,
    type: "Application",
    preferredUsername: "scripted",
    inbox: `${peer.actor}/inbox`,
    publicKey: { id: `${peer.actor}#key-2`, owner: peer.actor, publicKeyPem: second.publicKeyPem },
  };
  const post = (activity: Json, knobs: Knobs = {}) => peer.post(west.origin, activity, knobs);
  const signed = { keyId: `${peer.actor}#key-2`, privateKey: second.rsa };
  const early = await post(peer.activity({ type: "Update", object: document }), signed);
  assert.is(early.body.code, "signature_key", "the new key does not vouch for itself");
  const update = await post(peer.activity({ type: "Update", object: document }));
  assert.is(update.status, 202, JSON.stringify(update.body));
  assert.is((await post(note(peer), signed)).status, 202);
  assert.is((await post(note(peer))).status, 202, "the old key ends a day later");
  assert.is((await changesSeen(west, peer.origin)).length, 1);
  await peer[Symbol.asyncDispose]();
});

test.run();
