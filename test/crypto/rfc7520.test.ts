/**
 * RFC 7520 (and RFC 8037, appendix A): the library reads every example that it still supports, and our own formats
 * take none of them: each is valid cryptography in a suite, or a shape, that is not ours.
 */
import * as jose from "jose";
import * as assert from "uvu/assert";
import { readEnvelopeKids } from "../../src/crypto/envelope-inspection.ts";
import { decodeJsonObject, isHeaderOf, isSignedBy, parseCompactJws } from "../../src/crypto/jws.ts";
import { readBundleContent } from "../../src/crypto/key-bundle.ts";
import { parsePublicJwk } from "../../src/crypto/keys.ts";
import { suite } from "../harness/suite.ts";
import { type Json, readVectorFile } from "../vectors/load.ts";

interface Example {
  readonly input: {
    readonly payload?: string;
    readonly plaintext?: string;
    readonly pwd?: string;
    readonly key?: jose.JWK | readonly jose.JWK[];
  };
  readonly output: { readonly compact?: string; readonly json?: Json; readonly json_flat?: Json };
}

const files = readVectorFile("rfc7520-jose-cookbook.json").files as Record<string, Example>;
const examples = (folder: string) => Object.entries(files).filter(([name]) => name.startsWith(`${folder}/`));
const test = suite("RFC 7520");
const types = ["hf-sealed+jws", "hf-key-bundle", "hf-membership", "hf-receipt+jws", "hf-read+jws", "hf-node-keys"];
const decoder = new TextDecoder();

function listKeys({ input }: Example): readonly jose.JWK[] {
  if (input.key === undefined) return [];
  return Array.isArray(input.key) ? (input.key as jose.JWK[]) : [input.key as jose.JWK];
}

interface General {
  readonly payload?: string;
  readonly signatures: readonly { readonly protected?: string; readonly header?: Json; readonly signature: string }[];
}

function expand(compact = ""): General {
  const [header = "", payload = "", signature = ""] = compact.split(".");
  return { payload, signatures: [{ protected: header, signature }] };
}

/** Without `use` and `alg`, which the library would take for restrictions. */
async function importKey({ use: _use, alg: _alg, key_ops: _operations, ...jwk }: jose.JWK, alg: string) {
  return await jose.importJWK(jwk as jose.JWK, alg);
}

const nested = files["6.nesting_signatures_and_encryption.json"] as unknown as { sign: Example; encrypt: Example };
const signed: [string, Example][] = [
  ...examples("jws"),
  ...examples("curve25519").filter(([name]) => name.includes("jws")),
  ["6.nesting, signed", nested.sign],
];
for (const [name, example] of signed) {
  test(`${name} is valid, and none of our formats`, async () => {
    const { json, json_flat: flat, compact } = example.output;
    const general = (json ?? expand(compact)) as unknown as General;
    // 4.5 leaves the payload out of what is sent.
    const payload = general.payload ?? Buffer.from(example.input.payload ?? "").toString("base64url");
    const keys = listKeys(example);
    assert.is(general.signatures.length, keys.length);
    for (const [at, signature] of general.signatures.entries()) {
      const header = { ...signature.header, ...decodeJsonObject(signature.protected)?.value };
      const { d: _d, p: _p, q: _q, dp: _dp, dq: _dq, qi: _qi, ...publicJwk } = keys[at] as jose.JWK;
      const key = await importKey(publicJwk as jose.JWK, String(header.alg));
      const verified = await jose.flattenedVerify({ ...signature, payload } as jose.FlattenedJWSInput, key);
      assert.is(decoder.decode(verified.payload), example.input.payload);
      const ours = decodeJsonObject(signature.protected)?.value ?? {};
      for (const typ of types) assert.not(isHeaderOf(ours, typ), typ);
    }
    for (const sent of [json, flat, compact]) assert.is(readBundleContent(sent), null);
    const taken = parseCompactJws(compact);
    assert.not(taken !== null && types.some((typ) => isHeaderOf(taken.header, typ)));
  });
}

test("Ed25519 verifies with our primitive, and not after a change", async () => {
  const example = files["curve25519/jws.json"] as Example;
  const publicJwk = parsePublicJwk(pick(listKeys(example)[0] as jose.JWK), "Ed25519");
  assert.ok(publicJwk);
  const [header = "", payload = "", signature = ""] = (example.output.compact ?? "").split(".");
  assert.ok(await isSignedBy({ protected: header, encodedPayload: payload, signature }, publicJwk));
  const changed = `${payload.slice(0, -1)}${payload.endsWith("Z") ? "A" : "Z"}`;
  assert.not(await isSignedBy({ protected: header, encodedPayload: changed, signature }, publicJwk));
});

function pick({ kty, crv, x }: jose.JWK): unknown {
  return { kty, crv, x };
}

const encrypted: [string, Example][] = [
  ...examples("jwe"),
  ...examples("curve25519").filter(([name]) => name.includes("ecdh")),
  ["6.nesting, encrypted", nested.encrypt],
];
for (const [name, example] of encrypted) {
  test(`${name} is no envelope, whether or not it is valid`, async () => {
    const { json, json_flat: flat } = example.output;
    for (const sent of [json, flat]) assert.is(readEnvelopeKids(sent), null);
    const { recipients = [{}], ...rest } = json as unknown as Partial<jose.GeneralJWE>;
    const secrets = example.input.pwd === undefined ? listKeys(example) : [new TextEncoder().encode(example.input.pwd)];
    assert.is(secrets.length, recipients.length);
    for (const [at, secret] of secrets.entries()) {
      const jwe = { ...rest, ...recipients[at] } as jose.FlattenedJWE;
      const alg = readAlgorithm(jwe);
      const { plaintext, code } = await open(jwe, secret, alg);
      if (alg === "RSA1_5") {
        assert.is(code, "ERR_JOSE_NOT_SUPPORTED");
      } else if (alg.startsWith("PBES2")) {
        // The work that a header asks for is the sender's choice: read only by those who ask for it.
        assert.is(code, "ERR_JOSE_ALG_NOT_ALLOWED");
        assert.is((await open(jwe, secret, alg, [alg])).plaintext, example.input.plaintext);
      } else {
        assert.is(plaintext, example.input.plaintext, code);
      }
    }
  });
}

function readAlgorithm({ protected: header, unprotected, header: own }: jose.FlattenedJWE): string {
  return String({ ...unprotected, ...own, ...decodeJsonObject(header)?.value }.alg);
}

async function open(
  jwe: jose.FlattenedJWE,
  secret: jose.JWK | Uint8Array,
  alg: string,
  keyManagementAlgorithms?: string[],
): Promise<{ readonly plaintext?: string; readonly code?: string }> {
  const options = keyManagementAlgorithms === undefined ? {} : { keyManagementAlgorithms };
  try {
    const key = secret instanceof Uint8Array ? secret : await importKey(secret, alg);
    return { plaintext: decoder.decode((await jose.flattenedDecrypt(jwe, key, options)).plaintext) };
  } catch (error) {
    if (error instanceof jose.errors.JOSEError) return { code: error.code };
    throw error;
  }
}

test.run();
