/** Canonical JSON and the digests over it (RFC 8785; docs/protocol.md, "Conventions"). */
import { sha256 } from "@noble/hashes/sha2.js";
import { base64urlnopad } from "@scure/base";
import canonicalizeModule from "canonicalize";

// The package is CommonJS with an ES default in its types only.
const canonicalize = canonicalizeModule as unknown as (value: unknown) => string | undefined;

/**
 * The JCS form of a JSON value (RFC 8785).
 * @throws {TypeError} when `value` is not JSON
 */
export function canonicalJson(value: unknown): string {
  const text = canonicalize(value);
  if (text === undefined) throw new TypeError("The value has no JSON form: pass an object, array, string, number, …");
  return text;
}

/** base64url SHA-256 of octets, 43 characters. */
export function sha256Base64url(octets: Uint8Array): string {
  return base64urlnopad.encode(sha256(octets));
}

/** Digest of a JSON value: base64url SHA-256 of its JCS form. Of an activity, all of it counts. */
export function digestJson(value: unknown): string {
  return sha256Base64url(new TextEncoder().encode(canonicalJson(value)));
}

/** Digest of an object: with `hf:sealed`, without its top-level `@context`. */
export function objectDigest(object: Readonly<Record<string, unknown>>): string {
  const { "@context": _context, ...rest } = object;
  return digestJson(rest);
}

/** Digest of an object's clear part, the `clear` of its envelope: without `hf:sealed` and top-level `@context`. */
export function clearDigest(object: Readonly<Record<string, unknown>>): string {
  const { "@context": _context, "hf:sealed": _sealed, ...rest } = object;
  return digestJson(rest);
}
