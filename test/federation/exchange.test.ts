// time limit: 30 s
import { createPublicKey } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { openObject } from "../../src/crypto/envelope.ts";
import { readBundleContent } from "../../src/crypto/key-bundle.ts";
import { decodeMultikey, type PrivateJwk, type PublicJwk, thumbprint } from "../../src/crypto/keys.ts";
import { verifyReceipt } from "../../src/crypto/receipts.ts";
import { splitKeyId } from "../../src/protocol/ids.ts";
import { parseSignature, requireSignature, verifySignature } from "../../src/signatures/policy.ts";
import type { Json } from "../harness/rest.ts";
import { suite } from "../harness/suite.ts";
import { readVectorFile } from "../vectors/load.ts";

const test = suite("the exchange that docs/protocol.md shows");

interface Exchanged {
  readonly name: string;
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly answer: { readonly status: number; readonly body: Json | string };
}

interface Actor {
  readonly publicKey: { readonly publicKeyPem: string };
  readonly assertionMethod: readonly { readonly publicKeyMultibase: string }[];
}

const file = readVectorFile("exchange.json");
const requests = file.requests as Exchanged[];
const actors = file.actors as Record<string, Actor>;

const activityOf = ({ body }: Exchanged) => JSON.parse(body) as Json;
const originOf = (url: unknown) => new URL(String(url)).origin;
/** The document breaks lines where a reader needs it. */
const squeeze = (text: string) => text.replaceAll(/\s/g, "");
const requestNamed = (name: string) => requests.find((request) => request.name === name) as Exchanged;

function ed25519Of(origin: string): PublicJwk {
  const multibase = actors[`${origin}/actor`]?.assertionMethod[0]?.publicKeyMultibase ?? "";
  return decodeMultikey(multibase) as PublicJwk;
}

test("is signed by the keys of the senders' instance actors", async () => {
  for (const { name, method, url, headers, body } of requests) {
    const request = {
      method,
      target: new URL(url).pathname,
      headers: Object.entries(headers),
      body: Buffer.from(body),
    };
    const parsed = requireSignature(parseSignature(request));
    const key = splitKeyId(parsed.keyId);
    const sender = originOf(key?.actor);
    const publicKey =
      key?.fragment === "#main-key"
        ? createPublicKey(actors[`${sender}/actor`]?.publicKey.publicKeyPem ?? "")
        : createPublicKey({ key: { ...ed25519Of(sender) }, format: "jwk" });
    const now = new Date(String(headers.date));
    const verdict = await verifySignature(request, parsed, {
      key: { publicKey },
      origin: originOf(url),
      now,
      skewSeconds: 300,
    });
    assert.equal(verdict, { verified: true }, name);
  }
});

test("is answered by receipts of the nodes that accepted it", async () => {
  const receipted = requests.filter(({ answer }) => typeof answer.body === "object" && "receipt" in answer.body);
  assert.is(receipted.length, 7);
  for (const request of receipted) {
    const activity = activityOf(request);
    const peer = originOf(request.url);
    const { receipt } = request.answer.body as Json;
    const expected = {
      activity,
      self: originOf(activity.actor),
      peer,
      keys: [ed25519Of(peer)],
      now: new Date(String(request.headers.date)),
    };
    const verdict = await verifyReceipt(receipt, expected);
    assert.is(verdict.accepted && verdict.receipt.effect, "applied", request.name);
  }
});

test("carries projects that their reader opens", async () => {
  const { encryption } = file.reader as { readonly encryption: PrivateJwk };
  const { kty, crv, x } = encryption;
  const published = file.bundles as Record<string, { readonly bundle: Json }>;
  const { object } = activityOf(requestNamed("create"));
  const verdict = await openObject({
    object: object as Json,
    keys: [{ kid: thumbprint({ kty, crv, x }), privateJwk: encryption }],
    identitiesOf: (actor) => [{ jwk: readBundleContent(published[actor]?.bundle)?.identityJwk as PublicJwk }],
    isNew: true,
    now: new Date(requestNamed("create").headers.date ?? ""),
  });
  assert.equal(verdict.accepted && verdict.content, { description: "An invented one" });
});

test("is what the document says, word for word where it does not say …", async () => {
  const text = await readFile(join(import.meta.dirname, "..", "..", "..", "docs", "protocol.md"), "utf8");
  const blocks = [...text.matchAll(/^```http ([a-z-]+)\n(.*?)^```$/gms)];
  assert.ok(blocks.length > 2, "too few blocks were found");
  for (const [, name = "", block = ""] of blocks) {
    const { method, url, headers, body, answer } = requestNamed(name);
    const lines = Object.entries(headers).map(([header, value]) => `${header}: ${value}`);
    const first = `${method} ${new URL(url).pathname} HTTP/1.1`;
    const whole = squeeze([first, ...lines, body, `HTTP/1.1 ${answer.status}`, JSON.stringify(answer.body)].join(""));
    for (const part of squeeze(block).split("…")) assert.ok(whole.includes(part), `${name}: ${part}`);
  }
});

test.run();
