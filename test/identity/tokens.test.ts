import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decodeJwt, decodeProtectedHeader, importJWK, SignJWT, UnsecuredJWT } from "jose";
import * as assert from "uvu/assert";
import { loadNodeKeys, type NodeKeys } from "../../src/identity/node-keys.ts";
import { signAccessToken, verifyAccessToken } from "../../src/identity/tokens.ts";
import { suite } from "../harness/suite.ts";

const test = suite("access tokens");
const origin = "https://lyon.example";
const now = new Date("2026-11-26T08:00:00Z");
const issued = now.getTime() / 1000;
const session = { sessionId: "0193", subject: "admin" };
let keys: NodeKeys;
let otherKeys: NodeKeys;

async function makeKeys(): Promise<NodeKeys> {
  const dataDir = await mkdtemp(join(tmpdir(), "concordat-tokens-"));
  try {
    return await loadNodeKeys({ dataDir });
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
}

test.before(async () => {
  keys = await makeKeys();
  otherKeys = await makeKeys();
});

test("one that was issued while the clock was ahead is not good for longer", async () => {
  const text = await issue(200_000);
  assert.ok(await check(text));
  assert.is(await check(text, later(-86_400)), null);
});

const later = (seconds: number) => new Date(now.getTime() + seconds * 1000);
const issue = (seconds = 900) => signAccessToken({ ...session, origin, now, seconds }, keys);
const check = (text: string, at = now) => verifyAccessToken(text, { keys, origin, now: at });

/** A token that differs from a good one in what is given; undefined leaves it out. */
async function forge(
  claims: Record<string, unknown>,
  header: Record<string, unknown> = {},
  signer = keys,
): Promise<string> {
  const payload = { iss: origin, aud: origin, sub: "admin", sid: "0193", iat: issued, exp: issued + 900, ...claims };
  return await new SignJWT(JSON.parse(JSON.stringify(payload)))
    .setProtectedHeader({ alg: "EdDSA", typ: "at+jwt", kid: keys.ed25519.kid, ...header })
    .sign(await importJWK({ ...signer.ed25519.privateJwk }, "EdDSA"));
}

test("signs a token of this node for one session, and reads it back", async () => {
  const token = await issue();
  assert.equal(decodeProtectedHeader(token), { alg: "EdDSA", typ: "at+jwt", kid: keys.ed25519.kid });
  assert.equal(decodeJwt(token), {
    iss: origin,
    aud: origin,
    sub: "admin",
    sid: "0193",
    iat: issued,
    exp: issued + 900,
  });
  assert.equal(await check(token), session);
  assert.equal(await check(await forge({})), session);
});

test("takes a token until it ends, and not at its end", async () => {
  const token = await issue(60);
  assert.equal(await check(token, later(59)), session);
  assert.is(await check(token, later(60)), null);
});

test("refuses a token with another claim, type, key or signature", async () => {
  const refused: Record<string, string> = {
    "for another audience": await forge({ aud: "https://ouest.example" }),
    "of another issuer": await forge({ iss: "https://ouest.example" }),
    "without a session": await forge({ sid: undefined }),
    "with a session that is no text": await forge({ sid: 193 }),
    "without a subject": await forge({ sub: undefined }),
    "without an end": await forge({ exp: undefined }),
    "that begins later": await forge({ nbf: issued + 60 }),
    "of another type": await forge({}, { typ: "hf-login+jwt" }),
    "without a type": await forge({}, { typ: undefined }),
    "signed by another node": await forge({}, {}, otherKeys),
    unsigned: new UnsecuredJWT({ ...decodeJwt(await issue()) }).encode(),
    "signed with HMAC under the public key": await new SignJWT({ sid: "0193" })
      .setProtectedHeader({ alg: "HS256", typ: "at+jwt" })
      .setIssuer(origin)
      .setAudience(origin)
      .setSubject("admin")
      .setExpirationTime(issued + 900)
      .sign(Buffer.from(keys.ed25519.publicJwk.x, "base64url")),
    "that is no token": "abc",
    "that is empty": "",
  };
  for (const [what, token] of Object.entries(refused)) assert.is(await check(token), null, what);
});

test("refuses a token in which any octet was changed", async () => {
  const token = await issue();
  const [header = "", payload = "", signature = ""] = token.split(".");
  const swap = (text: string) => (text[9] === "A" ? "B" : "A");
  const change = (text: string) => text.slice(0, 9) + swap(text) + text.slice(10);
  for (const changed of [
    [change(header), payload, signature],
    [header, change(payload), signature],
    [header, payload, change(signature)],
    [header, payload, ""],
  ]) {
    assert.is(await check(changed.join(".")), null);
  }
});

test.run();
