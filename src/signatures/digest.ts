/** Digests of bodies: the `Digest` header of RFC 3230 beside draft-cavage, `Content-Digest` of RFC 9530 beside RFC 9421. */
import { createHash, timingSafeEqual } from "node:crypto";
import { isInnerList } from "structured-headers";
import { decodeBase64 } from "./base64.ts";
import type { SignatureForm } from "./parsed-signature.ts";
import { type HttpRequest, needsDigest, readHeaderLines } from "./request.ts";
import { readByteSequence, readDictionary } from "./structured-fields.ts";
import { refuse, type Verdict, verified } from "./verdict.ts";

/** The accepted algorithms by their names in lower case; any other beside them is refused. */
const hashes: ReadonlyMap<string, string> = new Map([
  ["sha-256", "sha256"],
  ["sha-512", "sha512"],
]);

/** The header that holds the digest, by the form of the signature that covers it. */
export const digestHeaders = { "draft-cavage": "digest", rfc9421: "content-digest" } as const;

/** The value of that header for `body`, by SHA-256. */
export function digestHeader(form: SignatureForm, body: Uint8Array): string {
  const digest = createHash("sha256").update(body).digest("base64");
  return form === "rfc9421" ? `sha-256=:${digest}:` : `SHA-256=${digest}`;
}

/**
 * Every digest that the request lists, in whichever header, must be sha-256 or sha-512 and match its body; a POST lists
 * at least one in the header of its form (docs/protocol.md, "Signatures"). It needs no key. Encoded bodies are refused
 * before, so the representation of `Repr-Digest` is the body.
 */
export function verifyDigest(request: HttpRequest, form: SignatureForm): Verdict {
  if (needsDigest(request) && readHeaderLines(request, digestHeaders[form]).length === 0) {
    return refuse("signature_digest", "The request has no digest in the header of its form of signature.");
  }
  const body = request.body ?? new Uint8Array();
  for (const [name, read] of readers) {
    const lines = readHeaderLines(request, name);
    if (lines.length === 0) continue;
    const listed = read(lines);
    if (!listed || listed.length === 0) return refuse("signature_digest", "A digest header cannot be read.");
    for (const { algorithm, expected } of listed) {
      const hash = hashes.get(algorithm);
      if (!hash) return refuse("signature_digest", "A digest is neither sha-256 nor sha-512.");
      const actual = createHash(hash).update(body).digest();
      if (!expected || expected.length !== actual.length || !timingSafeEqual(expected, actual)) {
        return refuse("signature_digest", "A digest does not match the body.");
      }
    }
  }
  return verified;
}

interface ListedDigest {
  readonly algorithm: string;
  /** Null where the value cannot be one. */
  readonly expected: Uint8Array | null;
}

const readers: readonly (readonly [header: string, read: (lines: readonly string[]) => ListedDigest[] | null])[] = [
  ["digest", readDigest],
  ["content-digest", readContentDigest],
  ["repr-digest", readContentDigest],
];

/** RFC 3230: names in any case, base64. */
function readDigest(lines: readonly string[]): ListedDigest[] {
  return lines
    .join(",")
    .split(",")
    .map((item) => {
      const [, name = "", value = ""] = /^\s*([A-Za-z0-9-]+)=(\S+)\s*$/.exec(item) ?? [];
      return { algorithm: name.toLowerCase(), expected: decodeBase64(value) };
    });
}

/** RFC 9530: a dictionary of byte sequences. */
function readContentDigest(lines: readonly string[]): ListedDigest[] | null {
  const field = readDictionary(lines);
  if (!field.read) return null;
  return [...field.members].map(([algorithm, member]) => ({
    algorithm,
    expected: isInnerList(member) ? null : readByteSequence(member),
  }));
}
