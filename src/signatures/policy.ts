/**
 * The one policy for signatures of other nodes (docs/protocol.md, "Signatures"). In three steps, since the order of
 * answers puts others between them: `parseSignature` (400) → host (421) → `requireSignature` (401) → peer (403) →
 * `verifySignature` (401). Keys are never looked up here.
 */
import { constants, type KeyObject, verify } from "node:crypto";
import { Problem } from "../errors.ts";
import { verifyDigest } from "./digest.ts";
import { parseDraftCavage } from "./draft-cavage.ts";
import { parseHttpDate } from "./http-date.ts";
import type { NoSignature, ParsedSignature } from "./parsed-signature.ts";
import { type HttpRequest, needsDigest, readHeaderLines } from "./request.ts";
import { isStrongRsa } from "./strong-key.ts";
import { refuse, type Verdict, verified } from "./verdict.ts";

export interface VerificationKey {
  /** RSA or Ed25519, pinned. */
  readonly publicKey: KeyObject;
}

export interface SignatureContext {
  readonly key: VerificationKey;
  /** Canonical origin of this node. */
  readonly origin: string;
  /** When the request arrived. */
  readonly now: Date;
  /** How far `date` and `created` may be away, in seconds. */
  readonly skewSeconds: number;
}

/**
 * Reads the signature headers. What is well-formed but holds no one signature comes back with `keyId: null`.
 * @throws {Problem} `malformed_signature`
 */
export function parseSignature(request: HttpRequest): ParsedSignature | NoSignature {
  const signatures = readHeaderLines(request, "signature");
  if (readHeaderLines(request, "signature-input").length > 0) return refuseMessageSignature(signatures);
  const [value, ...others] = signatures;
  if (value === undefined) return none("signature_missing", "The request has no Signature header.");
  if (others.length > 0) return none("signature_multiple", "The request has more than one Signature header.");
  return parseDraftCavage(request, value);
}

/** The seam for RFC 9421: its parser takes this place. */
function refuseMessageSignature(signatures: readonly string[]): NoSignature {
  if (signatures.some((value) => /(?:^|,)[ \t]*(?:keyId|signature)="/.test(value))) {
    return none("signature_multiple", "The request is signed in two forms.");
  }
  return none("signature_algorithm", "This node reads draft-cavage signatures, not yet those of RFC 9421.");
}

function none(code: NoSignature["code"], detail: string): NoSignature {
  return { keyId: null, code, detail };
}

/** @throws {Problem} `signature_missing`, `signature_multiple`, `signature_key` (no keyid), `signature_algorithm` */
export function requireSignature(signature: ParsedSignature | NoSignature): ParsedSignature {
  if (signature.keyId === null) throw new Problem(signature.code, signature.detail);
  return signature;
}

/** What can be judged before the key is known: that the signature covers what it must, and the digests of the body. */
export function verifyDigests(request: HttpRequest, parsed: ParsedSignature): Verdict {
  const coverage = judgeCoverage(request, parsed);
  return coverage.verified ? verifyDigest(request) : coverage;
}

/** Judges coverage, digest, clock, algorithm, and last the cryptography, which runs off the event loop. */
export async function verifySignature(
  request: HttpRequest,
  parsed: ParsedSignature,
  { key, origin, now, skewSeconds }: SignatureContext,
): Promise<Verdict> {
  const checks = [
    () => verifyDigests(request, parsed),
    () => judgeClock(request, parsed, now.getTime() / 1000, skewSeconds),
    () => judgeAlgorithm(parsed, key.publicKey),
    () => judgeHost(request, origin),
  ];
  for (const check of checks) {
    const verdict = check();
    if (!verdict.verified) return verdict;
  }
  const valid = await verifyOctets(parsed, key.publicKey);
  return valid ? verified : refuse("signature_invalid", "The signature does not verify with the key of its keyid.");
}

function judgeCoverage(request: HttpRequest, { components, signed }: ParsedSignature): Verdict {
  const needed = ["(request-target)", "host", "date", ...(needsDigest(request) ? ["digest"] : [])];
  const missing = needed.find((name) => !components.includes(name));
  if (missing) return refuse("signature_coverage", `The signature does not cover ${missing}.`);
  if (new Set(components).size < components.length) {
    return refuse("signature_coverage", "The signature covers something twice.");
  }
  return signed === null
    ? refuse("signature_coverage", "The signature covers something that the request does not have.")
    : verified;
}

function judgeClock(request: HttpRequest, parsed: ParsedSignature, now: number, skew: number): Verdict {
  if (readHeaderLines(request, "x-date").length > 0) return refuse("signature_clock", "X-Date is not accepted.");
  const dates = readHeaderLines(request, "date");
  const date = dates.length === 1 ? parseHttpDate(dates[0] as string) : null;
  if (date === null) return refuse("signature_clock", "The request needs exactly one Date, in the form of RFC 9110.");
  if (Math.abs(now - date / 1000) > skew) return refuse("signature_clock", "Date is too far from this node's clock.");
  if (parsed.created !== null && Math.abs(now - parsed.created) > skew) {
    return refuse("signature_clock", "The signature's time is too far from this node's clock.");
  }
  if (parsed.expires !== null && now >= parsed.expires) return refuse("signature_clock", "The signature has expired.");
  return verified;
}

/** The declared names that fit a type of key; `hs2019` and none mean the key's own algorithm. */
const algorithmsOf: Readonly<Record<string, readonly (string | null)[]>> = {
  rsa: ["rsa-sha256", "hs2019", null],
  ed25519: ["ed25519", "hs2019", null],
};

function judgeAlgorithm({ algorithm, components }: ParsedSignature, publicKey: KeyObject): Verdict {
  const type = publicKey.asymmetricKeyType ?? "";
  if (!algorithmsOf[type]?.includes(algorithm) || (type === "rsa" && !isStrongRsa(publicKey))) {
    return refuse("signature_algorithm", "The algorithm is not accepted for this key.");
  }
  // draft-cavage-12, 2.3: these pseudo-headers are not for rsa-*, hmac-* and ecdsa-*.
  if (algorithm === "rsa-sha256" && components.some((name) => name === "(created)" || name === "(expires)")) {
    return refuse("signature_algorithm", "rsa-sha256 cannot cover (created) and (expires).");
  }
  return verified;
}

/** The caller has answered 421 already; checked again because a signature for another host proves nothing here. */
function judgeHost(request: HttpRequest, origin: string): Verdict {
  const hosts = readHeaderLines(request, "host");
  return hosts.length === 1 && hosts[0]?.toLowerCase() === new URL(origin).host
    ? verified
    : refuse("signature_invalid", "The request was signed for another host.");
}

async function verifyOctets({ signed, signature }: ParsedSignature, publicKey: KeyObject): Promise<boolean> {
  const rsa = publicKey.asymmetricKeyType === "rsa";
  const key = rsa ? { key: publicKey, padding: constants.RSA_PKCS1_PADDING } : publicKey;
  return await new Promise((resolve, reject) => {
    verify(rsa ? "sha256" : null, Buffer.from(signed ?? "", "latin1"), key, signature, (error, valid) => {
      if (error) reject(error);
      else resolve(valid);
    });
  });
}
