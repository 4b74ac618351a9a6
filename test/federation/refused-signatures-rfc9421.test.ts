// time limit: 120 s
import { createHash, generateKeyPairSync } from "node:crypto";
import * as assert from "uvu/assert";
import { contentDigest, type MessageKnobs } from "../harness/message-signature.ts";
import type { TestNode } from "../harness/node.ts";
import type { ScriptedPeer } from "../harness/peer.ts";
import { assertRefused, type Judging, startJudging, type Trace } from "../harness/refusal.ts";
import type { Json } from "../harness/rest.ts";
import { suite } from "../harness/suite.ts";
import { setUnusedBit } from "../harness/unused-bit.ts";

/** RFC 9421 signatures that are taken and refused (docs/protocol.md, "Signatures between nodes"). */
const test = suite("refusals, rfc9421: signatures");

let judging: Judging;
let node: TestNode;
let peer: ScriptedPeer;

test.before(async () => {
  judging = await startJudging();
  ({ node, peer } = judging);
});
test.after(async () => await judging[Symbol.asyncDispose]());

const note = (): Json => peer.activity({ type: "Like", object: `${peer.origin}/notes/1` });
const seconds = (offset: number) => Math.floor(Date.now() / 1000) + offset;
const minutes = (count: number) => new Date(Date.now() + count * 60_000);
const rsa = () => ({ keyId: peer.keyId });
const authorization = ["Authorization", 'Signature keyId="https://a.example/actor#main-key",signature="AAAA"'] as const;
const otherEd25519 = generateKeyPairSync("ed25519").privateKey;
const complete = ["@method", "@target-uri", "content-digest", "content-type", "date"];
const sha = (algorithm: string, activity: Json) =>
  createHash(algorithm.replace("-", "")).update(JSON.stringify(activity)).digest("base64");
/** The activity's body with digests of it, each of an algorithm. */
const withDigests = (...algorithms: readonly string[]): MessageKnobs => {
  const activity = note();
  const digest = algorithms.map((algorithm) => `${algorithm}=:${sha(algorithm, activity)}:`).join(", ");
  return { body: Buffer.from(JSON.stringify(activity)), digest };
};

for (const [name, knobs] of [
  ["Ed25519", () => ({})],
  ["RSA with SHA-256", rsa],
  ["no alg", () => ({ algorithm: null })],
  [
    "@authority with @path and @query",
    () => ({ covered: ["@method", "@authority", "@path", "@query", "content-digest"] }),
  ],
  ["expires in time", () => ({ parameters: `;expires=${seconds(60)}` })],
  ["created four minutes ago", () => ({ created: seconds(-240), date: minutes(-4) })],
  ["no date at all", () => ({ date: null })],
  ["Authorization: Signature beside it, which is ignored", () => ({ headers: [authorization] })],
  ["a nonce and a tag", () => ({ parameters: ';nonce="n";tag="t"' })],
  ["sha-512 alone", () => withDigests("sha-512")],
  ["sha-256 and sha-512 beside each other", () => withDigests("sha-256", "sha-512")],
  [
    "the platform's name of the instance's key",
    () => {
      const actor = `${peer.origin}/platforms/chu`;
      return { keyId: `${actor}#ed25519-key`, body: Buffer.from(JSON.stringify({ ...note(), actor })) };
    },
  ],
] as const) {
  test(`accepts ${name}`, async () => {
    const answer = await peer.postMessage(node.origin, note(), knobs());
    assert.is(answer.status, 202, JSON.stringify(answer.body));
    assert.type(answer.body.receipt, "string");
  });
}

const refuse = (name: string, status: number, code: string, trace: Trace, knobs: () => MessageKnobs) =>
  test(`${name}: ${status} ${code}`, async () => {
    await assertRefused(node, peer, { status, code, trace }, () => peer.postMessage(node.origin, note(), knobs()));
  });

refuse("no signature", 401, "signature_missing", "count", () => ({ change: () => [] }));
refuse("a signature in Authorization alone", 401, "signature_missing", "count", () => ({
  change: () => [],
  headers: [authorization],
}));
refuse("Signature-Input alone", 401, "signature_missing", "count", () => ({
  change: (input) => [["Signature-Input", input]],
}));
refuse("one label twice", 401, "signature_multiple", "count", () => ({
  change: (input, signature) => [
    ["Signature-Input", input],
    ["Signature", `${signature}, ${signature}`],
  ],
}));
refuse("two labels", 401, "signature_multiple", "count", () => ({
  change: (input, signature) => [
    ["Signature-Input", `${input}, ${input.replace("sig1", "sig2")}`],
    ["Signature", `${signature}, ${signature.replace("sig1", "sig2")}`],
  ],
}));
refuse("two labels in headers of their own", 401, "signature_multiple", "count", () => ({
  change: (input, signature) => [
    ["Signature-Input", input],
    ["Signature-Input", input.replace("sig1", "sig2")],
    ["Signature", signature],
    ["Signature", signature.replace("sig1", "sig2")],
  ],
}));
refuse("both forms at once", 401, "signature_multiple", "count", () => ({
  change: (input, signature) => [
    ["Signature-Input", input],
    ["Signature", signature],
    ["Signature", `keyId="${peer.keyId}",signature="AAAA"`],
  ],
}));
refuse("another label in each header", 401, "signature_multiple", "count", () => ({
  change: (input, signature) => [
    ["Signature-Input", input],
    ["Signature", signature.replace("sig1", "sig2")],
  ],
}));

for (const [name, change] of [
  ["without a dictionary", (input: string, signature: string) => [input.replace("sig1=", ""), signature]],
  [
    "with a component that is no string",
    (input: string, signature: string) => [input.replace('"@method"', "@method"), signature],
  ],
  ["with a parameter that has no value", (input: string, signature: string) => [`${input};created=`, signature]],
  ["whose signature is no byte sequence", (input: string, signature: string) => [input, signature.replaceAll(":", "")]],
  [
    "with base64 of a foreign alphabet",
    (input: string, signature: string) => [input, signature.replace(/=:../, "=:!!")],
  ],
  ["with base64 without its padding", (input: string, signature: string) => [input, signature.replace(/=+:$/, ":")]],
  [
    "with base64 with unused bits",
    (input: string, signature: string) => [input, signature.replace(/.(?==+:$)/, setUnusedBit)],
  ],
  ["with a parameter twice", (input: string, signature: string) => [`${input};alg="ed25519"`, signature]],
  [
    "with a keyid twice",
    (input: string, signature: string) => [`${input};keyid="https://other.example/actor#ed25519-key"`, signature],
  ],
  ["with a comma at the end", (input: string, signature: string) => [`${input},`, signature]],
  ["whose end is missing", (input: string, signature: string) => [input.slice(0, -1), signature]],
  [
    "with created as a fraction",
    (input: string, signature: string) => [input.replace(/created=\d+/, "$&.5"), signature],
  ],
  [
    "with created as text",
    (input: string, signature: string) => [input.replace(/created=(\d+)/, 'created="$1"'), signature],
  ],
  [
    "with a keyid that is a number",
    (input: string, signature: string) => [input.replace(/keyid="[^"]*"/, "keyid=1"), signature],
  ],
] as const) {
  refuse(`a Signature-Input ${name}`, 400, "malformed_signature", "none", () => ({
    change: (input, signature) => {
      const [changedInput = "", changedSignature = ""] = change(input, signature);
      return [
        ["Signature-Input", changedInput],
        ["Signature", changedSignature],
      ];
    },
  }));
}

refuse("order: its syntax before the host", 400, "malformed_signature", "none", () => ({
  host: "other.example",
  change: (input, signature) => [
    ["Signature-Input", `${input},`],
    ["Signature", signature],
  ],
}));

for (const [name, covered] of [
  ["nothing covered", []],
  ["@method not covered", complete.filter((one) => one !== "@method")],
  ["no target covered", ["@method", "content-digest"]],
  ["@query not covered", ["@method", "@authority", "@path", "content-digest"]],
  ["@authority not covered", ["@method", "@path", "@query", "content-digest"]],
  ["content-digest not covered", ["@method", "@target-uri", "date"]],
  ["a component covered twice", [...complete, "date"]],
  ["a covered header that is not there", [...complete, "x-other"]],
  ["a covered component that only an answer has", [...complete, "@status"]],
] as const) {
  refuse(name, 401, "signature_coverage", "entry", () => ({ covered }));
}
refuse("a component with a parameter", 401, "signature_coverage", "entry", () => ({
  change: (input, signature) => [
    ["Signature-Input", input.replace('"date"', '"date";sf')],
    ["Signature", signature],
  ],
}));
refuse("no created", 401, "signature_coverage", "entry", () => ({ created: null }));
refuse("a covered digest that is not there", 401, "signature_coverage", "entry", () => ({
  covered: complete,
  digest: null,
}));

refuse("a body that was changed on the way", 401, "signature_digest", "entry", () => ({
  tamper: (body) => Buffer.from(body.toString().replace('"Like"', '"Love"')),
}));
refuse("an unknown digest beside a right one", 401, "signature_digest", "entry", () => withDigests("sha-256", "md5"));
refuse("SHA-1 alone", 401, "signature_digest", "entry", () => withDigests("sha-1"));
refuse("a wrong sha-512 beside a right sha-256", 401, "signature_digest", "entry", () => {
  const body = Buffer.from(JSON.stringify(note()));
  return { body, digest: `${contentDigest(body)}, sha-512=:${sha("sha-512", {})}:` };
});
refuse("a digest that cannot be read", 401, "signature_digest", "entry", () => ({ digest: "garbage" }));
refuse("a wrong Digest beside it", 401, "signature_digest", "entry", () => ({ headers: [["Digest", "SHA-256=AAAA"]] }));

refuse("created six minutes ago", 401, "signature_clock", "entry", () => ({ created: seconds(-360) }));
refuse("created in six minutes", 401, "signature_clock", "entry", () => ({ created: seconds(360) }));
refuse("expired", 401, "signature_clock", "entry", () => ({
  created: seconds(-20),
  parameters: `;expires=${seconds(-10)}`,
}));
refuse("an old date beside created", 401, "signature_clock", "entry", () => ({ date: minutes(-6) }));
refuse("a date in six minutes beside created", 401, "signature_clock", "entry", () => ({ date: minutes(6) }));
refuse("an old date that is not covered", 401, "signature_clock", "entry", () => ({
  date: minutes(-6),
  covered: complete.filter((one) => one !== "date"),
}));
refuse("a date of another form", 401, "signature_clock", "entry", () => ({ date: new Date().toISOString() }));
refuse("a date that is none", 401, "signature_clock", "entry", () => ({ date: "garbage" }));
refuse("a second date", 401, "signature_clock", "entry", () => ({
  covered: ["@method", "@target-uri", "content-digest"],
  headers: [["Date", new Date().toUTCString()]],
}));
refuse("X-Date", 401, "signature_clock", "entry", () => ({ headers: [["X-Date", new Date().toUTCString()]] }));

for (const algorithm of ["rsa-v1_5-sha256", "hmac-sha256", "rsa-pss-sha512", "ecdsa-p256-sha256", "hs2019", "none"]) {
  refuse(`alg ${algorithm} for an Ed25519 key`, 401, "signature_algorithm", "entry", () => ({ algorithm }));
}
for (const algorithm of ["ed25519", "rsa-pss-sha512", "rsa-sha1", "rsa-sha256", "hmac-sha256"]) {
  refuse(`alg ${algorithm} for an RSA key`, 401, "signature_algorithm", "entry", () => ({ ...rsa(), algorithm }));
}

refuse("no keyid", 401, "signature_key", "count", () => ({
  change: (input, signature) => [
    ["Signature-Input", input.replace(/;keyid="[^"]*"/, "")],
    ["Signature", signature],
  ],
}));
refuse("a keyid without a fragment", 401, "signature_key", "count", () => ({ keyId: peer.actor }));
refuse("a keyid that is no URL", 401, "signature_key", "count", () => ({ keyId: "#ed25519-key" }));

refuse("another key's signature", 401, "signature_invalid", "entry", () => ({ privateKey: otherEd25519 }));
refuse("signed for another path", 401, "signature_invalid", "entry", () => ({ signedTarget: "/actor/inbox" }));
refuse("signed for another query", 401, "signature_invalid", "entry", () => ({ signedTarget: "/inbox?x=1" }));
refuse("signed for another host", 401, "signature_invalid", "entry", () => ({ signedHost: "http://other.example" }));
refuse("signed for another method", 401, "signature_invalid", "entry", () => ({ signedMethod: "PUT" }));
refuse("expires prolonged", 401, "signature_invalid", "entry", () => ({
  parameters: `;expires=${seconds(60)}`,
  change: (input, signature) => [
    ["Signature-Input", input.replace(/expires=\d+/, `expires=${seconds(120)}`)],
    ["Signature", signature],
  ],
}));
refuse("an RSA key by SHA-512 under no alg", 401, "signature_invalid", "entry", () => ({
  ...rsa(),
  algorithm: null,
  hash: "sha512",
}));
refuse("an RSA key by SHA-1 under rsa-v1_5-sha256", 401, "signature_invalid", "entry", () => ({
  ...rsa(),
  hash: "sha1",
}));
refuse("sent to another host", 421, "wrong_host", "none", () => ({ host: "other.example" }));
refuse("sent to another port of the host", 421, "wrong_host", "none", () => ({ host: "127.0.0.1" }));

test("a key that the peer does not have: its actor is asked, then 401 signature_key", async () => {
  const asked = peer.requests.length;
  const answer = await peer.postMessage(node.origin, note(), {
    keyId: `${peer.actor}#other-key`,
    privateKey: peer.ed25519,
  });
  assert.equal([answer.status, answer.body.code], [401, "signature_key"]);
  assert.equal(peer.requests.slice(asked), ["GET /actor"]);
});

test.run();
