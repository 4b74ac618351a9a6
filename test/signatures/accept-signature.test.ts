import * as assert from "uvu/assert";
import { acceptSignatureHeader, readAcceptSignature } from "../../src/signatures/accept-signature.ts";
import { suite } from "../harness/suite.ts";

const test = suite("signatures: Accept-Signature");

test("asks for the least that the policy demands, and understands itself", () => {
  assert.is(acceptSignatureHeader({ digest: true }), 'sig1=("@method" "@target-uri" "content-digest");created');
  assert.is(acceptSignatureHeader({ digest: false }), 'sig1=("@method" "@target-uri");created');
  assert.equal(readAcceptSignature([acceptSignatureHeader({ digest: true })]), { form: "rfc9421", keyType: null });
});

const asked: readonly (readonly [value: string, keyType: string | null])[] = [
  ["sig1=()", null],
  ['sig1=("@method" "@authority" "@path" "@query" "content-digest");created;keyid="x"', null],
  ['sig1=("@method" "date");created;expires;alg="ed25519"', "ed25519"],
  ['sig1=("@method");alg="rsa-v1_5-sha256"', "rsa"],
  ['sig1=("@method");alg="ecdsa-p256-sha256", sig2=("@method");alg="ed25519"', "ed25519"],
];
for (const [value, keyType] of asked) {
  test(`can answer ${value}`, () => {
    assert.equal(readAcceptSignature([value]), { form: "rfc9421", keyType });
  });
}

const impossible = [
  "",
  'sig1=("@method"',
  "sig1",
  "sig1=1",
  'sig1=("@method");alg="hmac-sha256"',
  'sig1=("@method");alg=ed25519',
  'sig1=("@method");tag="app"',
  'sig1=("@method");nonce="n"',
  'sig1=("@method";req)',
  'sig1=("@status")',
  'sig1=("cookie")',
  'sig1=("@method"), sig1=("@method")',
];
for (const value of impossible) {
  test(`has no answer to ${value || "an empty header"}`, () => {
    assert.is(readAcceptSignature([value]), null);
  });
}

test("has no answer where nothing is asked", () => {
  assert.is(readAcceptSignature([]), null);
});

test.run();
