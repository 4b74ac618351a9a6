// time limit: 240 s
import { createHash, generateKeyPairSync } from "node:crypto";
import * as assert from "uvu/assert";
import type { Knobs } from "../harness/draft-cavage.ts";
import type { TestNode } from "../harness/node.ts";
import type { ScriptedPeer } from "../harness/peer.ts";
import { assertRefused, type Judging, startJudging, type Trace } from "../harness/refusal.ts";
import type { Json } from "../harness/rest.ts";
import { suite } from "../harness/suite.ts";
import { setUnusedBit } from "../harness/unused-bit.ts";
import type { Answer } from "../harness/wire.ts";

/** draft-cavage signatures that are taken and refused (docs/protocol.md, "Signatures between nodes"). */
const test = suite("refusals, draft-cavage: signatures");

let judging: Judging;
let node: TestNode;
let peer: ScriptedPeer;

test.before(async () => {
  judging = await startJudging();
  ({ node, peer } = judging);
});
test.after(async () => await judging[Symbol.asyncDispose]());

/** An activity without any effect: what is refused is refused for its signature or its form. */
const note = (members: Json = {}): Json =>
  peer.activity({ type: "Like", object: `${peer.origin}/notes/1`, ...members });
const post = (knobs: Knobs = {}, activity: unknown = note()) => peer.post(node.origin, activity, knobs);

const refuse = (name: string, status: number, code: string, trace: Trace, send: () => Promise<Answer>) =>
  test(`${name}: ${status} ${code}`, async () => void (await assertRefused(node, peer, { status, code, trace }, send)));
const accept = (name: string, send: () => Promise<Answer>) =>
  test(`accepts ${name}`, async () => {
    const answer = await send();
    assert.is(answer.status, 202, JSON.stringify(answer.body));
    assert.type(answer.body.receipt, "string");
  });
const without = (name: string) =>
  ["(request-target)", "host", "date", "digest", "content-type"].filter((component) => component !== name);
const minutes = (count: number) => new Date(Date.now() + count * 60_000);
const seconds = (count: number) => Math.floor(Date.now() / 1000) + count;
const digestOf = (algorithm: string, activity: Json) =>
  createHash(algorithm).update(JSON.stringify(activity)).digest("base64");
const authorization = ["Authorization", 'Signature keyId="https://a.example/actor#main-key",signature="AAAA"'] as const;
/** The times, in the header and covered. */
const timed = (created: number, expires: number): Knobs => ({
  algorithm: "hs2019",
  parameters: `created=${seconds(created)},expires=${seconds(expires)}`,
  covered: [...without(""), "(created)", "(expires)"],
});
const otherRsa = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;

accept("a request signed as draft-cavage says", () => post());
accept("hs2019 as the RSA key's own algorithm", () => post({ algorithm: "hs2019" }));
accept("no algorithm at all", () => post({ algorithm: null }));
accept("the pinned Ed25519 key", () => post({ keyId: `${peer.actor}#ed25519-key`, privateKey: peer.ed25519 }));
accept("the instance's keys under another actor of the origin", () => {
  const actor = `${peer.origin}/platforms/chu`;
  return post({ keyId: `${actor}#main-key` }, note({ actor }));
});
accept("sha-512 alone", () => {
  const activity = note();
  return post({ digest: `SHA-512=${digestOf("sha512", activity)}` }, activity);
});
accept("sha-256 and sha-512 beside each other", () => {
  const activity = note();
  const both = `SHA-256=${digestOf("sha256", activity)},SHA-512=${digestOf("sha512", activity)}`;
  return post({ digest: both }, activity);
});
accept("created and expires with hs2019", () => post(timed(0, 60)));
accept("a date within the window", () => post({ date: minutes(-4) }));
accept("Authorization: Signature beside it, which is ignored", () => post({ headers: [authorization] }));
accept("ld+json with the ActivityStreams profile", () =>
  post({ mediaType: 'application/ld+json; profile="https://www.w3.org/ns/activitystreams"' }),
);

refuse("no signature", 401, "signature_missing", "count", () => post({ signature: () => null }));
refuse("a signature in Authorization alone", 401, "signature_missing", "count", () =>
  post({ signature: () => null, headers: [authorization] }),
);
refuse("two Signature headers", 401, "signature_multiple", "count", () =>
  post({ headers: [["Signature", `keyId="${peer.keyId}",signature="AAAA"`]] }),
);
refuse("both forms at once", 401, "signature_multiple", "count", () =>
  post({ headers: [["Signature-Input", `sig1=("@method");created=1;keyid="${peer.keyId}"`]] }),
);

for (const [name, change] of [
  ["a parameter twice", (header: string) => `${header},algorithm="rsa-sha256"`],
  ["a keyId twice", (header: string) => `keyId="${"https://other.example/actor#main-key"}",${header}`],
  ["a value without quotes", (header: string) => header.replace(/keyId="([^"]*)"/, "keyId=$1")],
  ["a comma at the end", (header: string) => `${header},`],
  ["no parameters", () => "Signature"],
  ["base64 with a foreign character", (header: string) => header.replace(/signature="../, 'signature="!!')],
  ["base64 without its padding", (header: string) => header.replace(/=+"$/, '"')],
  ["base64 with unused bits", (header: string) => header.replace(/.(?==+"$)/, setUnusedBit)],
  ["created as text", (header: string) => `${header},created="1"`],
  ["created as a fraction", (header: string) => `${header},created=1.5`],
  ["its end missing", (header: string) => header.slice(0, -1)],
  ["two spaces between components", (header: string) => header.replace('headers="', 'headers="date  ')],
] as const) {
  refuse(`a Signature header with ${name}`, 400, "malformed_signature", "none", () => post({ signature: change }));
}

refuse("order: its syntax before the host", 400, "malformed_signature", "none", () =>
  post({ signature: (header) => `${header},`, host: "other.example" }),
);

for (const component of ["(request-target)", "host", "date", "digest"]) {
  refuse(`${component} not covered`, 401, "signature_coverage", "entry", () => post({ covered: without(component) }));
}
refuse("a component covered twice", 401, "signature_coverage", "entry", () =>
  post({ covered: [...without(""), "date"] }),
);
refuse("a covered header that is not there", 401, "signature_coverage", "entry", () =>
  post({ covered: [...without(""), "x-other"] }),
);
refuse("a covered created that is not there", 401, "signature_coverage", "entry", () =>
  post({ algorithm: "hs2019", covered: [...without(""), "(created)"] }),
);
refuse("no list of components", 401, "signature_coverage", "entry", () =>
  post({ signature: (header) => header.replace(/,headers="[^"]*"/, "") }),
);
refuse("a covered digest that is not there", 401, "signature_coverage", "entry", () => post({ digest: null }));

refuse("a body that was changed on the way", 401, "signature_digest", "entry", () =>
  post({ tamper: (body) => Buffer.from(body.toString().replace('"Like"', '"Love"')) }),
);
refuse("an unknown digest beside a right one", 401, "signature_digest", "entry", () => {
  const activity = note();
  return post({ digest: `SHA-256=${digestOf("sha256", activity)},MD5=${digestOf("md5", activity)}` }, activity);
});
refuse("SHA-1 alone", 401, "signature_digest", "entry", () => {
  const activity = note();
  return post({ digest: `SHA=${digestOf("sha1", activity)}` }, activity);
});
refuse("a wrong sha-512 beside a right sha-256", 401, "signature_digest", "entry", () => {
  const activity = note();
  return post({ digest: `SHA-256=${digestOf("sha256", activity)},SHA-512=${digestOf("sha512", {})}` }, activity);
});
refuse("a digest that cannot be read", 401, "signature_digest", "entry", () => post({ digest: "garbage" }));
refuse("a wrong Content-Digest beside it", 401, "signature_digest", "entry", () =>
  post({ headers: [["Content-Digest", "sha-256=:AAAA:"]] }),
);

refuse("a date six minutes ago", 401, "signature_clock", "entry", () => post({ date: minutes(-6) }));
refuse("a date in six minutes", 401, "signature_clock", "entry", () => post({ date: minutes(6) }));
refuse("a date that is none", 401, "signature_clock", "entry", () => post({ date: "garbage" }));
refuse("a date of another form", 401, "signature_clock", "entry", () => post({ date: new Date().toISOString() }));
refuse("X-Date", 401, "signature_clock", "entry", () => post({ headers: [["X-Date", new Date().toUTCString()]] }));
refuse("a second Date", 401, "signature_clock", "entry", () => post({ headers: [["Date", new Date().toUTCString()]] }));
refuse("created six minutes ago", 401, "signature_clock", "entry", () => post(timed(-360, 60)));
refuse("created in six minutes", 401, "signature_clock", "entry", () => post(timed(360, 720)));
refuse("expired", 401, "signature_clock", "entry", () => post(timed(-20, -10)));

for (const algorithm of [
  "rsa-sha1",
  "hmac-sha256",
  "ed25519",
  "ecdsa-sha256",
  "rsa-sha512",
  "rsa-v1_5-sha256",
  "none",
]) {
  refuse(`algorithm ${algorithm} for an RSA key`, 401, "signature_algorithm", "entry", () => post({ algorithm }));
}
for (const algorithm of ["rsa-sha256", "hmac-sha256"]) {
  refuse(`algorithm ${algorithm} for an Ed25519 key`, 401, "signature_algorithm", "entry", () =>
    post({ keyId: `${peer.actor}#ed25519-key`, privateKey: peer.ed25519, algorithm }),
  );
}
refuse("(created) covered with rsa-sha256", 401, "signature_algorithm", "entry", () =>
  post({ parameters: `created=${seconds(0)}`, covered: [...without(""), "(created)"] }),
);

refuse("no keyid", 401, "signature_key", "count", () =>
  post({ signature: (header) => header.replace(/keyId="[^"]*",/, "") }),
);
refuse("a keyid without a fragment", 401, "signature_key", "count", () => post({ keyId: peer.actor }));
refuse("a keyid that is no URL", 401, "signature_key", "count", () => post({ keyId: "#main-key" }));

refuse("another key's signature", 401, "signature_invalid", "entry", () => post({ privateKey: otherRsa }));
refuse("signed for another path", 401, "signature_invalid", "entry", () => post({ signedTarget: "/actor/inbox" }));
refuse("signed for another query", 401, "signature_invalid", "entry", () => post({ signedTarget: "/inbox?x=1" }));
refuse("signed for another method", 401, "signature_invalid", "entry", () => post({ signedMethod: "PUT" }));
refuse("signed for another host", 401, "signature_invalid", "entry", () => post({ signedHost: "other.example" }));
refuse("expires prolonged", 401, "signature_invalid", "entry", () =>
  post({ ...timed(0, 60), signature: (header) => header.replace(/expires=\d+/, `expires=${seconds(120)}`) }),
);
for (const algorithm of ["hs2019", null]) {
  refuse(`an RSA key by SHA-512 under ${algorithm ?? "no algorithm"}`, 401, "signature_invalid", "entry", () =>
    post({ algorithm, hash: "sha512" }),
  );
}
refuse("an RSA key by SHA-1 under rsa-sha256", 401, "signature_invalid", "entry", () => post({ hash: "sha1" }));
refuse("sent to another host", 421, "wrong_host", "none", () => post({ host: "other.example" }));
refuse("sent to another port of the host", 421, "wrong_host", "none", () => post({ host: "127.0.0.1" }));

test.run();
