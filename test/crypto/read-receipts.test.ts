import * as assert from "uvu/assert";
import { generateIdentityKeys, type PublicJwk } from "../../src/crypto/keys.ts";
import { envelopeDigest, signReadReceipt, verifyReadReceipt } from "../../src/crypto/read-receipts.ts";
import { suite } from "../harness/suite.ts";
import { type Json, loadVectors } from "../vectors/load.ts";
import { assertVerdict } from "./verdict.ts";

const test = suite("platform receipts");
const { file, cases } = loadVectors("read-receipts");

interface Platform {
  readonly actor: string;
  readonly identities: { readonly jwk: PublicJwk }[];
  readonly encryption: { readonly kid: string }[];
}

for (const item of cases) {
  test(item.name, async () => {
    const reader = Object.values(file.platforms as Record<string, Platform>).find(({ actor }) => actor === item.actor);
    const verdict = await verifyReadReceipt(item.receipt, {
      actor: item.actor as string,
      names: item.names as string,
      self: item.self as string,
      object: (file.objects as Record<string, Json>)[item.object as string] as Json,
      identities: reader?.identities.map(({ jwk }) => jwk) ?? [],
      encryptionKids: reader?.encryption.map(({ kid }) => kid) ?? [],
    });
    assertVerdict(verdict, item);
  });
}

const identity = await generateIdentityKeys();
const [actor, self] = ["https://b.example/platforms/b", "https://a.example/platforms/a"];
const sealed = { protected: "e30", recipients: [{ header: { kid: "one" } }, { header: { kid: "two" } }] };
const object = { id: "https://a.example/projects/1", type: ["Document"], "hf:revision": 3, "hf:sealed": sealed };
const receipt = {
  actor,
  to: self,
  object: object.id,
  revision: 3,
  envelope: envelopeDigest(object) as string,
  opened: "2026-11-23T10:00:00Z",
};
const expected = {
  actor,
  names: object.id,
  self,
  object,
  identities: [identity.publicJwk],
  encryptionKids: ["zero", "two"],
};

test("one signed here verifies, and not for a reader whom the envelope does not address", async () => {
  const text = await signReadReceipt(receipt, identity);
  assert.equal(await verifyReadReceipt(text, expected), { accepted: true, receipt });
  const stranger = await verifyReadReceipt(text, { ...expected, encryptionKids: ["zero"] });
  assert.equal(stranger, { accepted: false, reason: "not_a_recipient" });
});

test("an object without an envelope has no receipt", async () => {
  const { "hf:sealed": _sealed, ...bare } = object;
  assert.is(envelopeDigest(bare), null);
  const text = await signReadReceipt(receipt, identity);
  assert.equal(await verifyReadReceipt(text, { ...expected, object: bare }), { accepted: false, reason: "envelope" });
});

test("revision and opened have their forms", async () => {
  for (const wrong of [{ revision: 0 }, { revision: 2.5 }, { opened: "2026-11-23T10:00:00+01:00" }]) {
    const text = await signReadReceipt({ ...receipt, ...wrong }, identity);
    assert.equal(await verifyReadReceipt(text, expected), { accepted: false, reason: "receipt_payload" });
  }
});

test.run();
