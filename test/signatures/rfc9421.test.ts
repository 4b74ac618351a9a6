import { generateKeyPairSync } from "node:crypto";
import fc from "fast-check";
import * as assert from "uvu/assert";
import { Problem } from "../../src/errors.ts";
import { signText } from "../../src/signatures/cryptography.ts";
import { digestHeader } from "../../src/signatures/digest.ts";
import { parseSignature, requireSignature, verifyDigests, verifySignature } from "../../src/signatures/policy.ts";
import type { HttpRequest } from "../../src/signatures/request.ts";
import { suite } from "../harness/suite.ts";

const test = suite("signatures: RFC 9421");
const keys = generateKeyPairSync("ed25519");
const now = new Date("2026-11-23T10:00:00Z");
const created = now.getTime() / 1000;
const body = new TextEncoder().encode("{}");
const least = '("@method" "@target-uri" "content-digest")';
const parameters = `;created=${created};keyid="https://ouest.example/actor#ed25519-key"`;

/** A POST with these header lines beside host and digest. */
function post(...lines: (readonly [string, string])[]): HttpRequest {
  const own = [
    ["Host", "lyon.example"],
    ["Content-Digest", digestHeader("rfc9421", body)],
  ] as const;
  return { method: "POST", target: "/inbox", headers: [...own, ...lines], body };
}

/** Signs the request over that Signature-Input as it will be read; the input needs no canonical form itself. */
async function sign(request: HttpRequest, input: string): Promise<HttpRequest> {
  const draft = { ...request, headers: [...request.headers, ["Signature-Input", `a=${input}`] as const] };
  const parsed = requireSignature(parseSignature({ ...draft, headers: [...draft.headers, ["Signature", "a=:AA==:"]] }));
  const signature = await signText(parsed.writeSigned?.("https://lyon.example") ?? "", keys.privateKey);
  const value = `a=:${Buffer.from(signature).toString("base64")}:`;
  return { ...draft, headers: [...draft.headers, ["Signature", value]] };
}

/** The code of the refusal, or null. */
async function judge(request: HttpRequest): Promise<string | null> {
  try {
    const parsed = requireSignature(parseSignature(request));
    const context = { key: keys, origin: "https://lyon.example", now, skewSeconds: 300 };
    const verdict = await verifySignature(request, parsed, context);
    return verdict.verified ? null : verdict.code;
  } catch (error) {
    if (error instanceof Problem) return error.code;
    throw error;
  }
}

const accepted = {
  "the least": least + parameters,
  "spaces where the syntax allows them": `( "@method"   "@target-uri" "content-digest" ); created=${created}; keyid="k"`,
  "parameters in another order, with nonce and tag": `${least};tag="x";keyid="k";nonce="n";created=${created}`,
  "a parameter that nobody knows": `${least + parameters};future=1.5`,
  "both ways of covering the target": `("@method" "@target-uri" "@authority" "@path" "@query" "content-digest")${parameters}`,
  "scheme and request target": `("@method" "@target-uri" "@scheme" "@request-target" "content-digest")${parameters}`,
  "an escaped string": `${least};created=${created};keyid="a\\"b\\\\c"`,
};
for (const [name, input] of Object.entries(accepted)) {
  test(`accepts ${name}`, async () => {
    assert.is(await judge(await sign(post(), input)), null);
  });
}

test("joins the lines of one header, and takes octets beyond ASCII as they came", async () => {
  const input = `("@method" "@target-uri" "content-digest" "accept" "subject")${parameters}`;
  const request = await sign(post(["Accept", "a"], ["Subject", " é "], ["Accept", "b"]), input);
  assert.is(await judge(request), null);
  const joined = request.headers.filter(([name]) => name !== "Accept");
  assert.is(await judge({ ...request, headers: [...joined, ["accept", "a, b"]] }), null);
  assert.is(await judge({ ...request, headers: [...joined, ["accept", "b, a"]] }), "signature_invalid");
});

test("takes a Signature-Input on two lines for one that has two labels", async () => {
  const request = await sign(post(), least + parameters);
  const second = ["Signature-Input", "b=()"] as const;
  assert.is(await judge({ ...request, headers: [...request.headers, second] }), "signature_multiple");
});

test("needs no Date, but judges one, also where it is not covered", async () => {
  assert.is(await judge(await sign(post(["Date", now.toUTCString()]), least + parameters)), null);
  for (const date of ["Mon, 23 Nov 2026 09:54:59 GMT", "garbage", ""]) {
    assert.is(await judge(await sign(post(["Date", date]), least + parameters)), "signature_clock", date);
  }
  const twice = ["Date", now.toUTCString()] as const;
  assert.is(await judge(await sign(post(twice, twice), least + parameters)), "signature_clock");
  assert.is(await judge(await sign(post(["X-Date", now.toUTCString()]), least + parameters)), "signature_clock");
});

test("ends at the second of expires", async () => {
  assert.is(await judge(await sign(post(), `${least + parameters};expires=${created + 1}`)), null);
  assert.is(await judge(await sign(post(), `${least + parameters};expires=${created}`)), "signature_clock");
});

const refused: Readonly<Record<string, string>> = {
  "a name with capitals": `("@method" "@target-uri" "content-digest" "Host")${parameters}`,
  "@signature-params in the list": `("@method" "@target-uri" "content-digest" "@signature-params")${parameters}`,
  "@status of a request": `("@method" "@target-uri" "content-digest" "@status")${parameters}`,
  "a query parameter by its name": `("@method" "@target-uri" "content-digest" "@query-param";name="a")${parameters}`,
  "a trailer": `("@method" "@target-uri" "content-digest" "host";tr)${parameters}`,
  "octets in binary": `("@method" "@target-uri" "content-digest" "host";bs)${parameters}`,
  "only a digest with parameters": `("@method" "@target-uri" "content-digest";sf)${parameters}`,
  "the digest of the other form": `("@method" "@target-uri" "digest")${parameters}`,
  "the request target alone": `("@method" "@request-target" "content-digest")${parameters}`,
};
for (const [name, input] of Object.entries(refused)) {
  test(`refuses what covers ${name}`, async () => {
    const draft = post(["Digest", digestHeader("draft-cavage", body)]);
    assert.is(await judge(await sign(draft, input)), "signature_coverage");
  });
}

test("says that it is the parameters of a component", async () => {
  const request = await sign(post(), `("@method" "@target-uri" "content-digest" "host";sf)${parameters}`);
  const verdict = verifyDigests(request, requireSignature(parseSignature(request)));
  assert.is(verdict.verified ? null : verdict.code, "signature_coverage");
  assert.match(verdict.verified ? "" : verdict.detail, "parameters");
});

test("refuses a GET with a body that no digest covers", async () => {
  const get = { method: "GET", target: "/projects/a", headers: [["Host", "lyon.example"] as const] };
  const request = await sign(get, `("@method" "@target-uri")${parameters}`);
  assert.is(await judge(request), null);
  assert.is(await judge({ ...request, body }), "signature_coverage");
});

test("refuses names of algorithms that fit another key, or the other form", async () => {
  assert.is(await judge(await sign(post(), `${least + parameters};alg="ed25519"`)), null);
  for (const alg of ["hs2019", "rsa-v1_5-sha256", "ecdsa-p256-sha256", "hmac-sha256", "Ed25519", ""]) {
    assert.is(await judge(await sign(post(), `${least + parameters};alg="${alg}"`)), "signature_algorithm", alg);
  }
});

const valid = `a=${least}${parameters}`;
const malformed: readonly (readonly [name: string, input: string, signature: string])[] = [
  ["an item in place of the list", 'a="@method"', "a=:AA==:"],
  ["a label without a list", "a", "a=:AA==:"],
  ["a component that is a token", `a=(date)${parameters}`, "a=:AA==:"],
  ["created as a decimal", `a=${least};created=${created}.0;keyid="k"`, "a=:AA==:"],
  ["created as a fraction", `a=${least};created=${created}.5;keyid="k"`, "a=:AA==:"],
  ["created as a date", `a=${least};created=@${created};keyid="k"`, "a=:AA==:"],
  ["created with a zero before it", `a=${least};created=0${created};keyid="k"`, "a=:AA==:"],
  ["created without a value", `a=${least};created;keyid="k"`, "a=:AA==:"],
  ["expires as text", `${valid};expires="soon"`, "a=:AA==:"],
  ["keyid as a token", `a=${least};created=${created};keyid=k`, "a=:AA==:"],
  ["alg as a token", `${valid};alg=ed25519`, "a=:AA==:"],
  ["a parameter of a component twice", `a=("@method" "date";sf;sf)${parameters}`, "a=:AA==:"],
  ["a comma at the end", `${valid},`, "a=:AA==:"],
  ["a label with capitals", `A${valid.slice(1)}`, "A=:AA==:"],
  ["an octet beyond ASCII", `a=${least};created=${created};keyid="é"`, "a=:AA==:"],
  ["a signature as text", valid, 'a="AA=="'],
  ["a signature as a list", valid, "a=(:AA==:)"],
  ["an empty signature", valid, "a=::"],
  ["a signature with parameters", valid, "a=:AA==:;b"],
  ["base64 without padding", valid, "a=:AA:"],
  ["base64 with spaces", valid, "a=:A A==:"],
  ["base64url", valid, "a=:_-8=:"],
  ["unused bits that are not zero", valid, "a=:AB==:"],
];
for (const [name, input, signature] of malformed) {
  test(`refuses as malformed: ${name}`, async () => {
    assert.is(await judge(post(["Signature-Input", input], ["Signature", signature])), "malformed_signature");
  });
}

test("says which header is missing, or that the labels differ", async () => {
  const input = ["Signature-Input", valid] as const;
  assert.is(await judge(post(input)), "signature_missing");
  assert.is(await judge(post(input, ["Signature", ""])), "signature_missing");
  assert.is(await judge(post(["Signature-Input", ""], ["Signature", "a=:AA==:"])), "signature_missing");
  assert.is(await judge(post(input, ["Signature", "b=:AA==:"])), "signature_multiple");
  assert.is(await judge(post(input, ["Signature", "a=:AA==:, a=:AA==:"])), "signature_multiple");
  assert.is(await judge(post(input, ["Signature", "a=:AA==:, b=:AA==:"])), "signature_multiple");
  assert.is(await judge(post(["Signature", "a=:AA==:"])), "malformed_signature");
});

test("answers any text with a code, and never accepts it", async () => {
  const piece = fc.constantFrom(
    "a",
    "=",
    "(",
    ")",
    '"@method"',
    '"date"',
    ";",
    "sf",
    "created",
    "keyid",
    '"k"',
    "1",
    " ",
    ",",
  );
  const text = fc.oneof(
    fc.string({ maxLength: 60 }),
    fc.array(piece, { maxLength: 25 }).map((all) => all.join("")),
  );
  await fc.assert(
    fc.asyncProperty(text, text, async (input, signature) => {
      const code = await judge(post(["Signature-Input", input], ["Signature", signature]));
      assert.match(code ?? "accepted", /^(?:signature_|malformed_signature)/);
    }),
    { numRuns: 500 },
  );
});

test.run();
