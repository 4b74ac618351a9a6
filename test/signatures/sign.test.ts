import { createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import * as assert from "uvu/assert";
import { Problem } from "../../src/errors.ts";
import { parseSignature, requireSignature, verifySignature } from "../../src/signatures/policy.ts";
import type { HttpRequest } from "../../src/signatures/request.ts";
import { signRequest } from "../../src/signatures/sign.ts";
import { assertStrongKey } from "../../src/signatures/strong-key.ts";
import { suite } from "../harness/suite.ts";

const test = suite("signatures: signing");
const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const now = new Date("2026-11-23T10:00:00Z");
const body = new TextEncoder().encode('{"name":"Hôpital"}');
const keyId = "https://ouest.example/actor#main-key";
const json = "application/activity+json";

async function sign(method: "GET" | "POST"): Promise<HttpRequest> {
  const headers = await signRequest({
    form: "draft-cavage",
    method,
    url: "https://lyon.example:8443/inbox?a=%20b",
    headers: { "content-type": json, accept: json },
    ...(method === "POST" ? { body } : {}),
    keyId,
    privateKey: rsa.privateKey,
    now,
  });
  const lines = Object.entries(headers);
  return { method, target: "/inbox?a=%20b", headers: lines, ...(method === "POST" ? { body } : {}) };
}

function judge(request: HttpRequest, origin = "https://lyon.example:8443") {
  const parsed = requireSignature(parseSignature(request));
  return verifySignature(request, parsed, { key: rsa, origin, now, skewSeconds: 300 });
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

for (const method of ["GET", "POST"] as const) {
  test(`verifies what it signed: ${method}`, async () => {
    const request = await sign(method);
    assert.equal(await judge(request), { verified: true });
    const covered = method === "GET" ? "host date" : "host date digest content-type";
    assert.is(requireSignature(parseSignature(request)).components.join(" "), `(request-target) ${covered}`);
  });
}

test("refuses what was signed for another port of the host", async () => {
  const verdict = await judge(await sign("POST"), "https://lyon.example");
  assert.is(verdict.verified ? null : verdict.code, "signature_invalid");
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
