import * as assert from "uvu/assert";
import { digestHeader, verifyDigest } from "../../src/signatures/digest.ts";
import type { SignatureForm } from "../../src/signatures/parsed-signature.ts";
import { suite } from "../harness/suite.ts";
import { readVectorFile } from "../vectors/load.ts";

interface File {
  readonly sampleDigests: {
    readonly input: string;
    readonly values: Readonly<Record<string, string>>;
    readonly policy: { readonly accept: readonly string[]; readonly refuseAlone: readonly string[] };
  };
  readonly bodies: readonly { id: string; bodyUtf8?: string; bodyHex?: string; "sha-256": string }[];
  readonly fieldExamples: readonly string[];
  readonly hostile: readonly { readonly field: string; readonly valid: boolean; readonly why: string }[];
}

const file = readVectorFile("rfc9530-digest.json") as unknown as File;
const test = suite("signatures: digests");
const { input, values, policy } = file.sampleDigests;

/** Judges fields, each `Name: value`, as the headers of a POST; the first one's name says the form. */
function judge(fields: readonly string[], body: Uint8Array | string): string | null {
  const headers = fields.map((field) => {
    const [, name = "", value = ""] = /^([^:]+): (.*)$/.exec(field) ?? [];
    return [name, value] as const;
  });
  const form: SignatureForm = headers[0]?.[0] === "Digest" ? "draft-cavage" : "rfc9421";
  const octets = typeof body === "string" ? new TextEncoder().encode(body) : body;
  const verdict = verifyDigest({ method: "POST", target: "/inbox", headers, body: octets }, form);
  return verdict.verified ? null : verdict.code;
}

for (const name of policy.accept) {
  test(`RFC 9530: accepts ${name}, alone and beside another one`, () => {
    assert.is(judge([`Content-Digest: ${name}=${values[name]}`], input), null);
    assert.is(judge([`Content-Digest: ${name}=${values[name]}`], `${input} `), "signature_digest");
    const all = policy.accept.map((each) => `Content-Digest: ${each}=${values[each]}`);
    assert.is(judge(all, input), null);
  });
}

for (const name of policy.refuseAlone) {
  test(`RFC 9530: refuses ${name}, right as it is, alone and beside sha-256`, () => {
    const field = `Content-Digest: ${name}=${values[name]}`;
    assert.is(judge([field], input), "signature_digest");
    assert.is(judge([`Content-Digest: sha-256=${values["sha-256"]}`, field], input), "signature_digest");
  });
}

for (const { id, bodyUtf8, bodyHex = "", ...published } of file.bodies) {
  test(`RFC 9530: body ${id}`, () => {
    const body =
      bodyUtf8 === undefined ? new Uint8Array(Buffer.from(bodyHex, "hex")) : new TextEncoder().encode(bodyUtf8);
    assert.is(judge([`Content-Digest: sha-256=${published["sha-256"]}`], body), null);
    assert.is(digestHeader("rfc9421", body), `sha-256=${published["sha-256"]}`);
  });
}

/** Of the published examples, those whose body is given: an empty one, and the line with its line feed. */
const bodyOfDigest: Readonly<Record<string, string>> = {
  "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=": "",
  "RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=": '{"hello": "world"}\n',
};

for (const field of file.fieldExamples.filter((each) => /^(?:Content|Repr)-Digest/.test(each))) {
  const [, digest = ""] = /:([^:]*):(?:$|,)/.exec(field.slice(field.indexOf("=") + 1)) ?? [];
  const body = bodyOfDigest[digest];
  test(`RFC 9530: ${field} ${body === undefined ? "is refused" : "matches its body"}`, () => {
    // Repr-Digest alone is not what a signature covers.
    const own = field.startsWith("Repr") ? [digestField(body ?? "")] : [];
    assert.is(judge([...own, field], body ?? ""), body === undefined ? "signature_digest" : null);
  });
}

for (const { field, valid, why } of file.hostile) {
  test(`${valid ? "accepts" : "refuses"} ${field}: ${why}`, () => {
    assert.is(judge([field], input), valid ? null : "signature_digest");
  });
}

function digestField(body: string): string {
  return `Content-Digest: ${digestHeader("rfc9421", new TextEncoder().encode(body))}`;
}

test("refuses a right digest beside a wrong one in another header", () => {
  const wrong = digestField("something else");
  const legacy = `Digest: ${digestHeader("draft-cavage", new TextEncoder().encode(input))}`;
  assert.is(judge([digestField(input), legacy], input), null);
  assert.is(judge([legacy, wrong], input), "signature_digest");
  assert.is(judge([digestField(input), wrong.replace("Content", "Repr")], input), "signature_digest");
});

test("refuses a digest in the header of the other form, and none at all", () => {
  const legacy = ["Digest", digestHeader("draft-cavage", new TextEncoder().encode(input))] as const;
  const request = { method: "POST", target: "/inbox", headers: [legacy], body: new TextEncoder().encode(input) };
  assert.is(verifyDigest(request, "draft-cavage").verified, true);
  assert.is(verifyDigest(request, "rfc9421").verified, false);
  assert.is(judge([], input), "signature_digest");
  assert.is(judge(["Content-Digest: "], input), "signature_digest");
});

test("refuses the same algorithm twice, also with the same value", () => {
  const field = `Content-Digest: sha-256=${values["sha-256"]}`;
  assert.is(judge([field, field], input), "signature_digest");
});

test("refuses members that are no byte sequence", () => {
  for (const member of ["sha-256", "sha-256=1", 'sha-256="X48E"', "sha-256=()", "sha-256=::"]) {
    assert.is(judge([`Content-Digest: ${member}`], input), "signature_digest", member);
  }
});

test.run();
