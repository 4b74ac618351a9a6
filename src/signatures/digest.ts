/** Digests of bodies: the `Digest` header of RFC 3230, beside draft-cavage. */
import { createHash, timingSafeEqual } from "node:crypto";
import { decodeBase64 } from "./base64.ts";
import { type HttpRequest, needsDigest, readHeaderLines } from "./request.ts";
import { refuse, type Verdict, verified } from "./verdict.ts";

/** The accepted algorithms by their names in lower case; any other beside them is refused. */
const hashes: ReadonlyMap<string, string> = new Map([
  ["sha-256", "sha256"],
  ["sha-512", "sha512"],
]);

/** The value of a `Digest` header for `body`: `SHA-256=` and base64. */
export function digestHeader(body: Uint8Array): string {
  return `SHA-256=${createHash("sha256").update(body).digest("base64")}`;
}

/**
 * Every digest that the request lists must be sha-256 or sha-512 and match its body; a POST lists at least one
 * (docs/protocol.md, "Signatures"). It needs no key.
 */
export function verifyDigest(request: HttpRequest): Verdict {
  const lines = readHeaderLines(request, "digest");
  if (lines.length === 0) {
    return needsDigest(request) ? refuse("signature_digest", "The request has no Digest header.") : verified;
  }
  const body = request.body ?? new Uint8Array();
  for (const item of lines.join(",").split(",")) {
    const [, name = "", value = ""] = /^\s*([A-Za-z0-9-]+)=(\S+)\s*$/.exec(item) ?? [];
    const hash = hashes.get(name.toLowerCase());
    if (!hash) return refuse("signature_digest", "A digest is neither sha-256 nor sha-512.");
    const expected = decodeBase64(value);
    const actual = createHash(hash).update(body).digest();
    if (!expected || expected.length !== actual.length || !timingSafeEqual(expected, actual)) {
      return refuse("signature_digest", "A digest does not match the body.");
    }
  }
  return verified;
}
