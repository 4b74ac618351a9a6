import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import * as assert from "uvu/assert";
import { Problem } from "../../src/errors.ts";
import type { SignatureForm } from "../../src/signatures/parsed-signature.ts";
import { parseSignature, requireSignature, verifySignature } from "../../src/signatures/policy.ts";
import type { HttpRequest } from "../../src/signatures/request.ts";
import { signRequest } from "../../src/signatures/sign.ts";
import { assertStrongKey } from "../../src/signatures/strong-key.ts";
import { suite } from "../harness/suite.ts";
import { loadVectors } from "../vectors/load.ts";

const test = suite("signatures: signing");
const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const ed25519 = generateKeyPairSync("ed25519");
const now = new Date("2026-11-23T10:00:00Z");
const body = new TextEncoder().encode('{"name":"Hôpital"}');
const keyId = "https://ouest.example/actor#main-key";
const json = "application/activity+json";

type Method = "GET" | "POST";
type Keys = typeof rsa;

async function sign(method: Method, form: SignatureForm = "draft-cavage", keys: Keys = rsa): Promise<HttpRequest> {
  const headers = await signRequest({
    form,
    method,
    url: "https://lyon.example:8443/inbox?a=%20b",
    headers: { "content-type": json, accept: json },
    ...(method === "POST" ? { body } : {}),
    keyId,
    privateKey: keys.privateKey,
    now,
  });
  const lines = Object.entries(headers);
  return { method, target: "/inbox?a=%20b", headers: lines, ...(method === "POST" ? { body } : {}) };
}

function judge(request: HttpRequest, origin = "https://lyon.example:8443", key: Keys = rsa) {
  const parsed = requireSignature(parseSignature(request));
  return verifySignature(request, parsed, { key, origin, now, skewSeconds: 300 });
}

function edit(request: HttpRequest, name: string, change: (value: string) => string): HttpRequest {
  const headers = request.headers.map(([line, value]) => [line, line === name ? change(value) : value] as const);
  return { ...request, headers };
}

function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof Problem) return error.code;
  }
  return "accepted";
}

const ways = [
  { name: "draft-cavage, RSA", form: "draft-cavage", keys: rsa },
  { name: "RFC 9421, RSA", form: "rfc9421", keys: rsa },
  { name: "RFC 9421, Ed25519", form: "rfc9421", keys: ed25519 },
] as const;
const covered = {
  "draft-cavage": { GET: "(request-target) host date", POST: "(request-target) host date digest content-type" },
  rfc9421: { GET: "@method @target-uri date", POST: "@method @target-uri content-digest content-type date" },
};

for (const { name, form, keys } of ways) {
  for (const method of ["GET", "POST"] as const) {
    test(`verifies what it signed: ${name}, ${method}`, async () => {
      const request = await sign(method, form, keys);
      assert.equal(await judge(request, undefined, keys), { verified: true });
      assert.is(requireSignature(parseSignature(request)).components.join(" "), covered[form][method]);
    });
  }

  test(`refuses what was signed for another port of the host: ${name}`, async () => {
    const verdict = await judge(await sign("POST", form, keys), "https://lyon.example", keys);
    assert.is(verdict.verified ? null : verdict.code, "signature_invalid");
  });

  test(`signs anew for every attempt: ${name}`, async () => {
    const request = await sign("POST", form, keys);
    const parsed = requireSignature(parseSignature(request));
    const late = {
      key: keys,
      origin: "https://lyon.example:8443",
      now: new Date(now.getTime() + 301_000),
      skewSeconds: 300,
    };
    const verdict = await verifySignature(request, parsed, late);
    assert.is(verdict.verified ? null : verdict.code, "signature_clock");
  });
}

const vectors = loadVectors("signatures");
for (const item of vectors.cases.filter(({ name }) => name.startsWith("out: "))) {
  test(`signs as the vector does: ${item.name}`, async () => {
    const request = item.request as { method: Method; target: string; headers: [string, string][]; body: string };
    const parsed = requireSignature(parseSignature({ ...request, body: new TextEncoder().encode(request.body) }));
    const [, fragment] = parsed.keyId.split("#");
    const key = (vectors.file.privateKeys as Record<string, string | object>)[
      `https://ouest.example/actor#${fragment}`
    ];
    const given = Object.fromEntries(request.headers.map(([name, value]) => [name.toLowerCase(), value]));
    const own = Object.entries(given).filter(([name]) => ["accept", "content-type"].includes(name));
    const headers = await signRequest({
      form: parsed.form,
      method: request.method,
      url: `${vectors.file.receiver}${request.target}`,
      headers: Object.fromEntries(own),
      ...(request.body === "" ? {} : { body: new TextEncoder().encode(request.body) }),
      keyId: parsed.keyId,
      privateKey:
        typeof key === "string" ? createPrivateKey(key) : createPrivateKey({ key: { ...key }, format: "jwk" }),
      now: new Date((item.now as number) * 1000),
    });
    assert.equal(headers, given);
  });
}

test("signs with no other kind of key", async () => {
  for (const [form, keys] of [
    ["draft-cavage", ed25519],
    ["rfc9421", generateKeyPairSync("ec", { namedCurve: "P-256" })],
  ] as const) {
    let thrown: unknown;
    await sign("POST", form, keys).catch((error: unknown) => {
      thrown = error;
    });
    assert.instance(thrown, TypeError, form);
  }
});

test("refuses a GET with a body that no digest covers", async () => {
  const verdict = await judge({ ...(await sign("GET")), body });
  assert.is(verdict.verified ? null : verdict.code, "signature_coverage");
});

test("takes a number at the end and white space after commas", async () => {
  const request = edit(
    await sign("POST"),
    "signature",
    (value) => `${value.replaceAll('",', '", ')}, created=1795428000`,
  );
  assert.equal(await judge(request), { verified: true });
  assert.is(requireSignature(parseSignature(request)).created, 1795428000);
});

const malformed = [
  "",
  "keyId",
  'keyId="a",',
  'keyId="a" signature="AAAA"',
  'signature="AAAA",created="1"',
  'signature="AA"',
];
for (const value of [...malformed, 'headers="date  host",signature="AAAA"', "=1", 'signature="AAAB=="']) {
  test(`refuses as malformed: ${value || "an empty header"}`, () => {
    const request = { method: "POST", target: "/inbox", headers: [["Signature", value]] as const, body };
    assert.is(
      codeOf(() => parseSignature(request)),
      "malformed_signature",
    );
  });
}

test("judges a covered signature header, request-line and unknown pseudo-header as absent", async () => {
  for (const name of ["signature", "request-line", "(algorithm)", "(opaque)", "__proto__"]) {
    const request = edit(await sign("POST"), "signature", (value) => value.replace(" date ", ` date ${name} `));
    const verdict = await judge(request);
    assert.is(verdict.verified ? null : verdict.code, "signature_coverage", name);
  }
});

test("pins strong keys only", () => {
  const ed = (x: Uint8Array): KeyObject => {
    const jwk = { kty: "OKP", crv: "Ed25519", x: Buffer.from(x).toString("base64url") };
    return createPublicKey({ key: jwk, format: "jwk" });
  };
  const identityPoint = new Uint8Array(32).fill(1, 0, 1);
  assert.is(
    codeOf(() => assertStrongKey(rsa.publicKey)),
    "accepted",
  );
  assert.is(
    codeOf(() => assertStrongKey(generateKeyPairSync("ed25519").publicKey)),
    "accepted",
  );
  assert.is(
    codeOf(() => assertStrongKey(generateKeyPairSync("rsa", { modulusLength: 1024 }).publicKey)),
    "weak_key",
  );
  assert.is(
    codeOf(() => assertStrongKey(generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey)),
    "weak_key",
  );
  assert.is(
    codeOf(() => assertStrongKey(ed(identityPoint))),
    "weak_key",
  );
  assert.is(
    codeOf(() => assertStrongKey(ed(new Uint8Array(32)))),
    "weak_key",
  );
});

test.run();
