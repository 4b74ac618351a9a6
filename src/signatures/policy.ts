/**
 * The one policy for signatures of other nodes (docs/protocol.md, "Signatures"). In three steps, since the order of
 * answers puts others between them: `parseSignature` (400) → host (421) → `requireSignature` (401) → peer (403) →
 * `verifySignature` (401). Keys are never looked up here.
 */
import type { KeyObject } from "node:crypto";
import { Problem } from "../errors.ts";
import { verifyText } from "./cryptography.ts";
import { digestHeaders, verifyDigest } from "./digest.ts";
import { parseDraftCavage } from "./draft-cavage.ts";
import { parseHttpDate } from "./http-date.ts";
import { type NoSignature, noSignature, type ParsedSignature, type SignatureForm } from "./parsed-signature.ts";
import { type HttpRequest, needsDigest, readHeaderLines } from "./request.ts";
import { messageAlgorithms, parseMessageSignature } from "./rfc9421.ts";
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
 * Reads the signature headers: RFC 9421 when there is a Signature-Input, else draft-cavage. What is well-formed but
 * holds no one signature comes back with `keyId: null`.
 * @throws {Problem} `malformed_signature`
 */
export function parseSignature(request: HttpRequest): ParsedSignature | NoSignature {
  if (readHeaderLines(request, "signature-input").length > 0) return parseMessageSignature(request);
  const [value, ...others] = readHeaderLines(request, "signature");
  if (value === undefined) return noSignature("signature_missing", "The request has no Signature header.");
  if (others.length > 0) return noSignature("signature_multiple", "The request has more than one Signature header.");
  return parseDraftCavage(request, value);
}

/** @throws {Problem} `signature_missing`, `signature_multiple`, `signature_key` (no keyid) */
export function requireSignature(signature: ParsedSignature | NoSignature): ParsedSignature {
  if (signature.keyId === null) throw new Problem(signature.code, signature.detail);
  return signature;
}

/** What can be judged before the key is known: that the signature covers what it must, and the digests of the body. */
export function verifyDigests(request: HttpRequest, parsed: ParsedSignature): Verdict {
  const coverage = judgeCoverage(request, parsed);
  return coverage.verified ? verifyDigest(request, parsed.form) : coverage;
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
  const signed = parsed.writeSigned?.(origin) ?? "";
  const valid = await verifyText(signed, parsed.signature, key.publicKey);
  return valid ? verified : refuse("signature_invalid", "The signature does not verify with the key of its keyid.");
}

function judgeCoverage(request: HttpRequest, parsed: ParsedSignature): Verdict {
  const { form, components, created, writeSigned } = parsed;
  const missing = listNeeded(request, parsed).find((name) => !components.includes(name));
  if (missing) return refuse("signature_coverage", `The signature does not cover ${missing}.`);
  if (form === "rfc9421" && created === null) return refuse("signature_coverage", "The signature has no created.");
  if (new Set(components).size < components.length) {
    return refuse("signature_coverage", "The signature covers something twice.");
  }
  if (components.some((name) => name.includes(";"))) {
    return refuse("signature_coverage", "The signature covers a component with parameters.");
  }
  return writeSigned === null
    ? refuse("signature_coverage", "The signature covers something that the request does not have.")
    : verified;
}

function listNeeded(request: HttpRequest, { form, components }: ParsedSignature): readonly string[] {
  const digest = needsDigest(request) ? [digestHeaders[form]] : [];
  if (form === "draft-cavage") return ["(request-target)", "host", "date", ...digest];
  const byParts = components.includes("@authority") && !components.includes("@target-uri");
  return ["@method", ...(byParts ? ["@authority", "@path", "@query"] : ["@target-uri"]), ...digest];
}

function judgeClock(request: HttpRequest, parsed: ParsedSignature, now: number, skew: number): Verdict {
  if (readHeaderLines(request, "x-date").length > 0) return refuse("signature_clock", "X-Date is not accepted.");
  const dates = readHeaderLines(request, "date");
  // draft-cavage always covers a Date; beside RFC 9421, whose `created` says the time, one is judged if it is there.
  if (dates.length > 0 || parsed.form === "draft-cavage") {
    const date = dates.length === 1 ? parseHttpDate(dates[0] as string) : null;
    if (date === null) return refuse("signature_clock", "The request needs exactly one Date, in the form of RFC 9110.");
    if (Math.abs(now - date / 1000) > skew) return refuse("signature_clock", "Date is too far from this node's clock.");
  }
  if (parsed.created !== null && Math.abs(now - parsed.created) > skew) {
    return refuse("signature_clock", "The signature's time is too far from this node's clock.");
  }
  if (parsed.expires !== null && now >= parsed.expires) return refuse("signature_clock", "The signature has expired.");
  return verified;
}

/** The declared names that fit a type of key; `hs2019` and none mean the key's own algorithm. */
const algorithmsOf: Readonly<Record<SignatureForm, Readonly<Record<string, readonly (string | null)[]>>>> = {
  "draft-cavage": { rsa: ["rsa-sha256", "hs2019", null], ed25519: ["ed25519", "hs2019", null] },
  rfc9421: { rsa: [messageAlgorithms.rsa, null], ed25519: [messageAlgorithms.ed25519, null] },
};

function judgeAlgorithm({ form, algorithm, components }: ParsedSignature, publicKey: KeyObject): Verdict {
  const type = publicKey.asymmetricKeyType ?? "";
  if (!algorithmsOf[form][type]?.includes(algorithm) || (type === "rsa" && !isStrongRsa(publicKey))) {
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
