// time limit: 120 s
import { createPublicKey } from "node:crypto";
import * as assert from "uvu/assert";
import { verifyMessage } from "../harness/message-signature.ts";
import { findPeer, startNode, type TestNode } from "../harness/node.ts";
import { type Arrival, approveScripted, type ScriptedPeer, startPeer } from "../harness/peer.ts";
import { joinPlatform } from "../harness/platform.ts";
import type { Json } from "../harness/rest.ts";
import { suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

/** RFC 9421 both ways, the second knock, and the form that is remembered (docs/protocol.md, "Signatures between nodes"). */
const test = suite("signature forms");

let node: TestNode;
let peer: ScriptedPeer;
let platforms = 0;

test.before(async () => {
  [node, peer] = await Promise.all([startNode(), startPeer()]);
  await approveScripted(node, peer);
});
test.after(async () => {
  await Promise.all([node, peer].map((part) => part[Symbol.asyncDispose]()));
});

const formOf = (arrival: Arrival) => (arrival.headers["signature-input"] === undefined ? "draft-cavage" : "rfc9421");
const remembered = async () => (await findPeer(node, peer.origin))?.signature_form;
/** Makes the node tell its peers of a new platform, and gives the requests that came of it, up to the accepted one. */
async function tell(): Promise<readonly Arrival[]> {
  const before = peer.arrivals.length;
  platforms += 1;
  const { uri } = await joinPlatform(node, `p${platforms}`);
  await until("it is delivered", async () => (await node.admin.list("/deliveries?state=queued")).length === 0);
  return peer.arrivals.slice(before).filter(({ activity }) => activity.actor === uri);
}
const refuseForm = (form: string, headers: Record<string, string> = {}) =>
  peer.answerWith(async (arrival) => {
    if (formOf(arrival) === form) return { status: 401, headers, body: { code: "signature_missing" } };
    return { status: 202, body: { receipt: await peer.receiptFor(arrival.activity, node.origin) } };
  });
async function keyOf(arrival: Arrival) {
  const keyId = /;keyid="([^"]*)"/.exec(String(arrival.headers["signature-input"]))?.[1] ?? "";
  const actor = (await (await fetch(keyId.replace(/#.*/, ""))).json()) as Json;
  const { id, publicKeyPem } = actor.publicKey as Json;
  return { keyId, rsaId: id, rsa: createPublicKey(String(publicKeyPem)) };
}

test("a peer that does not announce message signatures is signed to as draft-cavage first", async () => {
  assert.equal((await tell()).map(formOf), ["draft-cavage"]);
  assert.is(await remembered(), "draft-cavage");
});

test("after a 401 it knocks once more, in the other form by the RSA key, and remembers what was taken", async () => {
  refuseForm("draft-cavage");
  const knocks = await tell();
  assert.equal(knocks.map(formOf), ["draft-cavage", "rfc9421"]);
  const second = knocks[1] as Arrival;
  const { keyId, rsaId, rsa } = await keyOf(second);
  assert.is(keyId, rsaId);
  const verdict = verifyMessage({ ...second, url: `${peer.origin}${second.path}` }, rsa);
  assert.equal(verdict?.covered, ["@method", "@target-uri", "content-digest", "content-type", "date"]);
  assert.match(String(verdict?.parameters), /;created=\d+;expires=\d+;keyid="[^"]+";alg="rsa-v1_5-sha256"$/);
  assert.is(await remembered(), "rfc9421-rsa");
  assert.equal((await tell()).map(formOf), ["rfc9421"], "the next one knocks in the remembered form");
});

test("and back, when the peer takes that form no longer", async () => {
  refuseForm("rfc9421");
  assert.equal((await tell()).map(formOf), ["rfc9421", "draft-cavage"]);
  assert.is(await remembered(), "draft-cavage");
});

test("Accept-Signature says which key is wanted", async () => {
  const wanted = 'sig1=("@method" "@target-uri" "content-digest");created;alg="ed25519"';
  refuseForm("draft-cavage", { "accept-signature": wanted });
  const knocks = await tell();
  assert.match(String(knocks[1]?.headers["signature-input"]), /#ed25519-key";alg="ed25519"$/);
  assert.is(await remembered(), "rfc9421");
  peer.answerWith(undefined);
});

test("a 401 without a signature asks for one", async () => {
  const answer = await peer.post(node.origin, note(), { signature: () => null });
  assert.is(answer.status, 401);
  assert.is(answer.headers["accept-signature"], 'sig1=("@method" "@target-uri" "content-digest");created');
});

const note = () => peer.activity({ type: "Like", object: `${peer.origin}/notes/1` });

test.run();
