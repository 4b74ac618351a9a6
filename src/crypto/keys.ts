/** Keys of platforms and nodes: strict OKP JWKs, thumbprints, fingerprints, Multikey (RFC 7638, RFC 8037, FEP-521a). */
import { ed25519 } from "@noble/curves/ed25519.js";
import { base58, base64urlnopad, hex } from "@scure/base";
import { exportJWK, generateKeyPair } from "jose";
import { ConcordatError } from "../errors.ts";
import { canonicalJson, sha256Base64url } from "../protocol/canonical-json.ts";
import { suite } from "../protocol/suite.ts";

export type Curve = "Ed25519" | "X25519";

/** A public key as bundles carry it: exactly these members, `x` = 32 octets in canonical base64url. */
export interface PublicJwk {
  readonly kty: "OKP";
  readonly crv: Curve;
  readonly x: string;
}

export interface PrivateJwk extends PublicJwk {
  readonly d: string;
}

/** A key pair under its `kid`, the RFC 7638 thumbprint. */
export interface KeyPair {
  readonly kid: string;
  readonly publicJwk: PublicJwk;
  readonly privateJwk: PrivateJwk;
}

/** Octets of canonical base64url, or null: other characters, padding or unused bits are refused. */
export function decodeBase64url(text: unknown): Uint8Array | null {
  if (typeof text !== "string") return null;
  try {
    return base64urlnopad.decode(text);
  } catch {
    return null;
  }
}

export function encodeBase64url(octets: Uint8Array): string {
  return base64urlnopad.encode(octets);
}

/** `value` as a public JWK on `curve` with exactly `kty`, `crv` and `x`, or null. */
export function parsePublicJwk(value: unknown, curve: Curve): PublicJwk | null {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return null;
  const jwk = value as Record<string, unknown>;
  if (Object.keys(jwk).sort().join() !== "crv,kty,x" || jwk.kty !== "OKP" || jwk.crv !== curve) return null;
  if (decodeBase64url(jwk.x)?.length !== suite.keyOctets) return null;
  return { kty: "OKP", crv: curve, x: jwk.x as string };
}

const thumbprintMembers: Readonly<Record<string, readonly string[]>> = {
  OKP: ["crv", "kty", "x"],
  RSA: ["e", "kty", "n"],
};

/**
 * RFC 7638 thumbprint of an OKP or RSA key, base64url; other members do not count.
 * @throws {ConcordatError} `jwk` when a required member is missing or the key type is another
 */
export function thumbprint(jwk: Readonly<Record<string, unknown>> | PublicJwk): string {
  const members = jwk as Readonly<Record<string, unknown>>;
  const required = thumbprintMembers[String(members.kty)];
  if (required === undefined || required.some((name) => typeof members[name] !== "string")) {
    throw new ConcordatError("jwk", "The key has no thumbprint: pass an OKP or RSA JWK with all its public members.");
  }
  const subset = Object.fromEntries(required.map((name) => [name, members[name]]));
  return sha256Base64url(new TextEncoder().encode(canonicalJson(subset)));
}

/** What people compare: the first 24 hex digits of the thumbprint, lower case, in groups of four. */
export function fingerprint(jwk: Readonly<Record<string, unknown>> | PublicJwk): string {
  return fingerprintOfThumbprint(thumbprint(jwk));
}

/** The fingerprint of a key of which only the thumbprint (its `kid`) is at hand. */
export function fingerprintOfThumbprint(kid: string): string {
  return groupFingerprint(hex.encode(base64urlnopad.decode(kid)).slice(0, 24));
}

/** The digits of a fingerprint as they are shown. */
export function groupFingerprint(digits: string): string {
  return (digits.match(/.{4}/g) ?? []).join(" ");
}

const multikeyPrefix = { Ed25519: [0xed, 0x01], X25519: [0xec, 0x01] } as const;

/** `publicKeyMultibase` of a key: `z` + base58btc of the multicodec prefix and the 32 octets. */
export function encodeMultikey(jwk: PublicJwk): string {
  return `z${base58.encode(Uint8Array.from([...multikeyPrefix[jwk.crv], ...base64urlnopad.decode(jwk.x)]))}`;
}

/** The Ed25519 key of a `publicKeyMultibase`, or null when it is none. */
export function decodeMultikey(text: string): PublicJwk | null {
  // A Multikey of 34 octets has 48 characters; base58 takes quadratic time, so longer text is not even read.
  if (!text.startsWith("z") || text.length > 64) return null;
  let octets: Uint8Array;
  try {
    octets = base58.decode(text.slice(1));
  } catch {
    return null;
  }
  const [first, second] = multikeyPrefix.Ed25519;
  if (octets.length !== 2 + suite.keyOctets || octets[0] !== first || octets[1] !== second) return null;
  return { kty: "OKP", crv: "Ed25519", x: base64urlnopad.encode(octets.slice(2)) };
}

const fieldPrime = 2n ** 255n - 19n;
/** u coordinates of the points of order 1, 2, 4 and 8 on Curve25519 and its twist (RFC 7748 section 6.1). */
const smallOrderCoordinates = new Set([
  0n,
  1n,
  fieldPrime - 1n,
  325606250916557431795983626356110631294008115727848805560023387167927233504n,
  39382357235489614581723060781553021112529911719440698176882885853963445705823n,
]);

/** Is the key of small order, or for Ed25519 no point at all? Such a key is never trusted. */
export function isWeakKey(jwk: PublicJwk): boolean {
  const octets = base64urlnopad.decode(jwk.x);
  if (jwk.crv === "Ed25519") {
    try {
      return ed25519.Point.fromBytes(octets, true).isSmallOrder();
    } catch {
      return true;
    }
  }
  const coordinate = BigInt(`0x${hex.encode(octets.toReversed())}`) & (2n ** 255n - 1n);
  return smallOrderCoordinates.has(coordinate % fieldPrime);
}

/** A new identity: an Ed25519 pair. A recovery key is one, too. */
export function generateIdentityKeys(): Promise<KeyPair> {
  return generatePair("Ed25519");
}

/** A new encryption key: an X25519 pair. */
export function generateEncryptionKeys(): Promise<KeyPair> {
  return generatePair("X25519");
}

async function generatePair(crv: Curve): Promise<KeyPair> {
  const alg = crv === suite.signature.crv ? suite.signature.alg : suite.encryption.alg;
  const { privateKey } = await generateKeyPair(alg, { crv, extractable: true });
  const { x, d } = await exportJWK(privateKey);
  if (x === undefined || d === undefined) throw new ConcordatError("jwk", `WebCrypto gave no ${crv} key to export.`);
  const publicJwk: PublicJwk = { kty: "OKP", crv, x };
  return { kid: thumbprint(publicJwk), publicJwk, privateJwk: { ...publicJwk, d } };
}
