/** RFC 9421, appendix B and section 4.3: what the primitives make of it, and that the policy refuses what it must. */
import { constants, createHmac, createPrivateKey, createPublicKey, type KeyObject, verify } from "node:crypto";
import * as assert from "uvu/assert";
import { signText, verifyText } from "../../src/signatures/cryptography.ts";
import type { ParsedSignature } from "../../src/signatures/parsed-signature.ts";
import { parseSignature, requireSignature, verifySignature } from "../../src/signatures/policy.ts";
import { type HttpRequest, readHeaderLines } from "../../src/signatures/request.ts";
import { suite } from "../harness/suite.ts";
import { readVectorFile } from "../vectors/load.ts";

interface Message {
  readonly startLine: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly body: string;
}

interface Example {
  readonly id: string;
  readonly title: string;
  readonly message: "request" | "response";
  readonly alg: string;
  readonly keyid: string;
  readonly deterministic: boolean;
  readonly signatureBase: string;
  readonly signatureInput: string;
  readonly signature: string;
}

interface File {
  readonly keys: Readonly<Record<string, { publicKeyPem?: string; privateKeyPem?: string; base64?: string }>>;
  readonly testRequest: Message;
  readonly testResponse: Message;
  readonly "B.2": readonly Example[];
  readonly "B.3": { readonly signatureBase: string; readonly signedRequest: Message };
  readonly "B.4": {
    readonly signatureBase: string;
    readonly messages: readonly { readonly id: string; readonly message: Message; readonly valid: boolean }[];
  };
  readonly "4.3": Readonly<Record<"client" | "altered" | "final", Message>> & {
    readonly proxySignatureBase: string;
    readonly proxySignature: string;
  };
}

const file = readVectorFile("rfc9421-appendix-b.json") as unknown as File;
const test = suite("RFC 9421: vectors");

function readRequest({ startLine, headers, body }: Message): HttpRequest {
  const [method = "", target = ""] = startLine.split(" ");
  return { method, target, headers, body: new TextEncoder().encode(body) };
}

function withSignature(request: HttpRequest, input: string, signature: string): HttpRequest {
  const headers = request.headers.filter(([name]) => !/^signature/i.test(name));
  return { ...request, headers: [...headers, ["Signature-Input", input], ["Signature", signature]] };
}

function parse(request: HttpRequest): ParsedSignature {
  return requireSignature(parseSignature(request));
}

function originOf(request: HttpRequest): string {
  return `https://${readHeaderLines(request, "host")[0]}`;
}

function publicKey(keyid: string): KeyObject {
  return createPublicKey(file.keys[keyid]?.publicKeyPem ?? "");
}

/** Also the algorithms that this node refuses. */
function isValid(alg: string, keyid: string, base: string, signature: Uint8Array): boolean {
  const data = Buffer.from(base);
  if (alg === "hmac-sha256") {
    const secret = Buffer.from(file.keys[keyid]?.base64 ?? "", "base64");
    return createHmac("sha256", secret).update(data).digest().equals(signature);
  }
  const key = publicKey(keyid);
  if (alg === "rsa-pss-sha512") {
    return verify("sha512", data, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 64 }, signature);
  }
  if (alg === "ecdsa-p256-sha256") return verify("sha256", data, { key, dsaEncoding: "ieee-p1363" }, signature);
  return verify(null, data, key, signature);
}

/** What the policy says within the clock's window, with the key of that name. */
async function judge(request: HttpRequest, keyid: string): Promise<string | null> {
  const parsed = parse(request);
  const verdict = await verifySignature(request, parsed, {
    key: { publicKey: publicKey(keyid) },
    origin: originOf(request),
    now: new Date((parsed.created ?? 0) * 1000),
    skewSeconds: 300,
  });
  return verdict.verified ? null : verdict.code;
}

/** Each is valid; the code with which the policy refuses it, and whether the text that is signed can be built. */
const refusals: Readonly<Record<string, { readonly code: string; readonly built: boolean }>> = {
  "B.2.1": { code: "signature_coverage", built: true },
  "B.2.2": { code: "signature_coverage", built: false },
  // Its coverage is enough; but RSA keys here sign with PKCS #1 v1.5.
  "B.2.3": { code: "signature_invalid", built: true },
  "B.2.4": { code: "signature_coverage", built: false },
  "B.2.5": { code: "signature_coverage", built: true },
  "B.2.6": { code: "signature_coverage", built: true },
};

for (const { id, title, message, alg, keyid, signatureBase, signatureInput, signature } of file["B.2"]) {
  test(`${id} is valid, and refused: ${title}`, async () => {
    const sent = message === "request" ? readRequest(file.testRequest) : readRequest(file.testResponse);
    // A response answers no method and has no host: lent ones show that @status is never taken from a request.
    const lent =
      message === "request" ? sent : { ...sent, headers: [["Host", "example.com"] as const, ...sent.headers] };
    const request = withSignature(lent, signatureInput, signature);
    const parsed = parse(request);
    assert.ok(isValid(alg, keyid, signatureBase, parsed.signature));
    const { code, built } = refusals[id] as { code: string; built: boolean };
    assert.is(parsed.writeSigned?.("https://example.com") ?? null, built ? signatureBase : null);
    const anyKey = alg === "hmac-sha256" ? "test-key-ed25519" : keyid;
    assert.is(await judge(request, anyKey), code);
  });
}

test("B.2.6 verifies and is made with the primitives of this node", async () => {
  const example = file["B.2"].find(({ id }) => id === "B.2.6") as Example;
  const parsed = parse(withSignature(readRequest(file.testRequest), example.signatureInput, example.signature));
  const base = parsed.writeSigned?.("https://example.com") ?? "";
  assert.ok(await verifyText(base, parsed.signature, publicKey(example.keyid)));
  const privateKey = createPrivateKey(file.keys[example.keyid]?.privateKeyPem ?? "");
  assert.equal(Buffer.from(await signText(base, privateKey)), Buffer.from(parsed.signature));
  assert.not(await verifyText(`${base} `, parsed.signature, publicKey(example.keyid)));
});

test("B.3 is valid, and refused: ECDSA behind a proxy", async () => {
  const request = readRequest(file["B.3"].signedRequest);
  const parsed = parse(request);
  const base = parsed.writeSigned?.(originOf(request)) ?? "";
  assert.is(base, file["B.3"].signatureBase);
  assert.ok(isValid("ecdsa-p256-sha256", "test-key-ecc-p256", base, parsed.signature));
  assert.is(await judge(request, "test-key-ecc-p256"), "signature_coverage");
});

for (const { id, message, valid } of file["B.4"].messages) {
  test(`${id} ${valid ? "is valid, and refused" : "is not valid"}`, async () => {
    const request = readRequest(message);
    const parsed = parse(request);
    const base = parsed.writeSigned?.(originOf(request)) ?? "";
    assert.is(base === file["B.4"].signatureBase, valid);
    assert.is(await verifyText(base, parsed.signature, publicKey("test-key-ed25519")), valid);
    assert.is(await judge(request, "test-key-ed25519"), "signature_coverage");
  });
}

test("4.3: the client's signature is valid where it was sent, not behind the proxy", async () => {
  const { client, altered } = file["4.3"];
  for (const [message, valid] of [[client, true] as const, [altered, false] as const]) {
    const request = readRequest(message);
    const parsed = parse(request);
    const base = parsed.writeSigned?.(originOf(request)) ?? "";
    assert.is(isValid("ecdsa-p256-sha256", "test-key-ecc-p256", base, parsed.signature), valid);
    assert.is(await judge(request, "test-key-ecc-p256"), "signature_coverage");
  }
});

test("4.3: the proxy's signature is valid and made alike; two signatures are refused", async () => {
  const { final, proxySignatureBase, proxySignature } = file["4.3"];
  const request = readRequest(final);
  const both = parseSignature(request);
  assert.is(both.keyId === null ? both.code : null, "signature_multiple");

  const [, input = ""] = /, (proxy_sig=.*)$/.exec(readHeaderLines(request, "signature-input")[0] ?? "") ?? [];
  const alone = withSignature(request, input, `proxy_sig=:${proxySignature}:`);
  const parsed = parse(alone);
  const base = parsed.writeSigned?.(originOf(request)) ?? "";
  assert.is(base, proxySignatureBase);
  assert.is(parsed.expires, 1618884540);
  assert.ok(await verifyText(base, parsed.signature, publicKey("test-key-rsa")));
  const privateKey = createPrivateKey(file.keys["test-key-rsa"]?.privateKeyPem ?? "");
  assert.is(Buffer.from(await signText(base, privateKey)).toString("base64"), proxySignature);
  assert.is(await judge(alone, "test-key-rsa"), "signature_coverage");
});

test.run();
