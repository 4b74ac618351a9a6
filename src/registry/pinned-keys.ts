/** The pinned keys of a peer, as what they are used for: verifying requests and receipts. */
import { createPublicKey } from "node:crypto";
import { decodeMultikey, type PublicJwk } from "../crypto/keys.ts";
import type { VerificationKey } from "../signatures/policy.ts";
import type { PinnedKey } from "../storage/schema.ts";

/** Parsed keys by their text: parsing a PEM for every request would cost more than verifying with it. */
const parsed = new Map<string, VerificationKey>();
const greatestCache = 2_000;

/** The key of that fragment, unless it was rotated away before `now`. It serves every actor of its origin. */
export function findVerificationKey(
  keys: readonly PinnedKey[],
  fragment: string,
  now: Date,
): VerificationKey | undefined {
  const pinned = keys.find((key) => key.id === fragment);
  if (!pinned || (pinned.until !== undefined && new Date(pinned.until) <= now)) return undefined;
  return parseKey(pinned);
}

function parseKey(pinned: PinnedKey): VerificationKey {
  const text = pinned.publicKeyPem ?? pinned.publicKeyMultibase ?? "";
  const known = parsed.get(text);
  if (known) return known;
  const publicKey =
    pinned.publicKeyPem === undefined
      ? createPublicKey({ key: { ...decodeMultikey(text) }, format: "jwk" })
      : createPublicKey(text);
  const key: VerificationKey = { publicKey };
  if (parsed.size >= greatestCache) parsed.clear();
  parsed.set(text, key);
  return key;
}

/** The Ed25519 keys of a peer, also rotated ones: any of them may have signed a receipt. */
export function ed25519JwksOf(keys: readonly PinnedKey[]): readonly PublicJwk[] {
  return keys.flatMap((key) => decodeMultikey(key.publicKeyMultibase ?? "") ?? []);
}
