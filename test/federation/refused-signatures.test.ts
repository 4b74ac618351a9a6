// time limit: 240 s
import { createHash, generateKeyPairSync } from "node:crypto";
import * as assert from "uvu/assert";
import type { Knobs } from "../harness/draft-cavage.ts";
import { startNode, type TestNode } from "../harness/node.ts";
import { approveScripted, type ScriptedPeer, startPeer } from "../harness/peer.ts";
import { assertRefused, type Trace, untilQuiet } from "../harness/refusal.ts";
import type { Json } from "../harness/rest.ts";
import { freshDatabaseUrl } from "../harness/servers.ts";
import { suite } from "../harness/suite.ts";
import type { Answer } from "../harness/wire.ts";

/** draft-cavage signatures that are taken and refused (docs/protocol.md, "Signatures between nodes"). */
const test = suite("refusals, draft-cavage: signatures");

let node: TestNode;
let peer: ScriptedPeer;
/** Tables in which accepted activities and logins leave rows. */
const unjudged = ["journal", "sessions", "received_activities", "administrators"];
let tablesBefore: Record<string, string[]>;

test.before(async () => {
  // On PostgreSQL every case compares all tables; on PGlite the whole suite does, once.
  const store = (await freshDatabaseUrl()) === undefined ? "pglite" : "postgres";
  [node, peer] = await Promise.all([startNode({ store }), startPeer()]);
  await approveScripted(node, peer);
  await untilQuiet(node);
  if (store === "postgres") return;
  await node.stop();
  tablesBefore = await node.dump(unjudged);
  await node.start();
});
test.after(async () => {
  try {
    if (node.store === "postgres") return;
    await node.stop();
    assert.equal(await node.dump(unjudged), tablesBefore);
  } finally {
    await Promise.all([node[Symbol.asyncDispose](), peer[Symbol.asyncDispose]()]);
  }
});

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
accept("created and expires with hs2019", () =>
  post({
    algorithm: "hs2019",
    parameters: `created=${seconds(0)},expires=${seconds(60)}`,
    covered: ["(request-target)", "(created)", "(expires)", "host", "date", "digest"],
  }),
);
accept("a date within the window", () => post({ date: minutes(-4) }));
accept("ld+json with the ActivityStreams profile", () =>
  post({ mediaType: 'application/ld+json; profile="https://www.w3.org/ns/activitystreams"' }),
);

refuse("no signature", 401, "signature_missing", "count", () => post({ signature: () => null }));
refuse("a signature in Authorization alone", 401, "signature_missing", "count", () => {
  const authorization = ["Authorization", `Signature keyId="${peer.keyId}",signature="AAAA"`] as const;
  return post({ signature: () => null, headers: [authorization] });
});
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
  ["created as text", (header: string) => `${header},created="1"`],
  ["two spaces between components", (header: string) => header.replace('headers="', 'headers="date  ')],
] as const) {
  refuse(`a Signature header with ${name}`, 400, "malformed_signature", "none", () => post({ signature: change }));
}

for (const component of ["(request-target)", "host", "date", "digest"]) {
  refuse(`${component} not covered`, 401, "signature_coverage", "entry", () => post({ covered: without(component) }));
}
refuse("a component covered twice", 401, "signature_coverage", "entry", () =>
  post({ covered: [...without(""), "date"] }),
);
refuse("a covered header that is not there", 401, "signature_coverage", "entry", () =>
  post({ covered: [...without(""), "x-other"] }),
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

refuse("a date six minutes ago", 401, "signature_clock", "entry", () => post({ date: minutes(-6) }));
refuse("a date in six minutes", 401, "signature_clock", "entry", () => post({ date: minutes(6) }));
refuse("a date that is none", 401, "signature_clock", "entry", () => post({ date: "garbage" }));
refuse("a date of another form", 401, "signature_clock", "entry", () => post({ date: new Date().toISOString() }));
refuse("X-Date", 401, "signature_clock", "entry", () => post({ headers: [["X-Date", new Date().toUTCString()]] }));
refuse("created six minutes ago", 401, "signature_clock", "entry", () =>
  post({
    algorithm: "hs2019",
    parameters: `created=${seconds(-360)}`,
    covered: [...without(""), "(created)"],
  }),
);
refuse("expired", 401, "signature_clock", "entry", () =>
  post({
    algorithm: "hs2019",
    parameters: `created=${seconds(-20)},expires=${seconds(-10)}`,
    covered: [...without(""), "(created)", "(expires)"],
  }),
);

for (const algorithm of ["rsa-sha1", "hmac-sha256", "ed25519", "ecdsa-sha256", "rsa-sha512", "none"]) {
  refuse(`algorithm ${algorithm} for an RSA key`, 401, "signature_algorithm", "entry", () => post({ algorithm }));
}
refuse("rsa-sha256 for an Ed25519 key", 401, "signature_algorithm", "entry", () =>
  post({ keyId: `${peer.actor}#ed25519-key`, privateKey: peer.ed25519, algorithm: "rsa-sha256" }),
);
refuse("(created) covered with rsa-sha256", 401, "signature_algorithm", "entry", () =>
  post({ parameters: `created=${seconds(0)}`, covered: [...without(""), "(created)"] }),
);

refuse("no keyid", 401, "signature_key", "count", () =>
  post({ signature: (header) => header.replace(/keyId="[^"]*",/, "") }),
);
refuse("a keyid without a fragment", 401, "signature_key", "count", () => post({ keyId: peer.actor }));

refuse("another key's signature", 401, "signature_invalid", "entry", () => post({ privateKey: otherRsa }));
refuse("signed for another path", 401, "signature_invalid", "entry", () => post({ signedTarget: "/actor/inbox" }));
refuse("signed for another query", 401, "signature_invalid", "entry", () => post({ signedTarget: "/inbox?x=1" }));
refuse("signed for another method", 401, "signature_invalid", "entry", async () => {
  const activity = note();
  const date = new Date();
  let signed = "";
  const keep = (header: string) => {
    signed = header;
    return header;
  };
  // Sent as what it was signed for, it is refused before anybody looks at the signature.
  assert.is((await post({ method: "PUT", date, signature: keep }, activity)).status, 405);
  return await post({ date, signature: () => signed }, activity);
});
refuse("signed for another host", 401, "signature_invalid", "entry", () => post({ signedHost: "other.example" }));
refuse("sent to another host", 421, "wrong_host", "none", () => post({ host: "other.example" }));
refuse("sent to another port of the host", 421, "wrong_host", "none", () => post({ host: "127.0.0.1" }));

test.run();
