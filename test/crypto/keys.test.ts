import * as assert from "uvu/assert";
import {
  type Curve,
  decodeMultikey,
  encodeMultikey,
  fingerprint,
  generateEncryptionKeys,
  generateIdentityKeys,
  isWeakKey,
  type PublicJwk,
  parsePublicJwk,
  thumbprint,
} from "../../src/crypto/keys.ts";
import { suite } from "../harness/suite.ts";
import { type Json, loadVectors } from "../vectors/load.ts";

const test = suite("keys");

for (const item of loadVectors("thumbprints").cases) {
  test(item.name, () => {
    const jwk = item.jwk as Json;
    if (item.expect === "refuse") {
      assert.is(parsePublicJwk(jwk, "Ed25519"), null);
      return;
    }
    assert.is(thumbprint(jwk), item.thumbprint);
    if (item.fingerprint !== undefined) assert.is(fingerprint(jwk), item.fingerprint);
    if (item.publicKeyMultibase !== undefined) {
      assert.is(encodeMultikey(jwk as unknown as PublicJwk), item.publicKeyMultibase);
      assert.is(decodeMultikey(item.publicKeyMultibase as string)?.x, jwk.x);
    }
  });
}

test("new keys are strict, strong and under their thumbprint", async () => {
  const pairs = { Ed25519: await generateIdentityKeys(), X25519: await generateEncryptionKeys() };
  for (const [curve, pair] of Object.entries(pairs)) {
    assert.equal(parsePublicJwk(pair.publicJwk, curve as Curve), pair.publicJwk);
    assert.is(pair.kid, thumbprint(pair.publicJwk));
    assert.not(isWeakKey(pair.publicJwk));
    assert.is(parsePublicJwk(pair.privateJwk, curve as Curve), null);
  }
});

test("a Multikey of another key type is none of ours", () => {
  const x25519 = encodeMultikey({ kty: "OKP", crv: "X25519", x: "ddmmX-faESicsK_CzQpqIk5D59v6yhNGcTDAN5-HiU0" });
  for (const text of [x25519, "", "z", "m7QE", "zO0Il"]) assert.is(decodeMultikey(text), null, text);
});

test.run();
