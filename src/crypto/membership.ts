/** Memberships: an identity says that an actor of one instance is its own (docs/protocol.md, "Membership"). */
import { limits } from "../protocol/limits.ts";
import { jwsTypes, suite } from "../protocol/suite.ts";
import { isHeaderOf, isSignedBy, parseCompactJws, signCompact } from "./jws.ts";
import { readBundleContent } from "./key-bundle.ts";
import { type KeyPair, parsePublicJwk, thumbprint } from "./keys.ts";

export type MembershipReason =
  | "membership_shape"
  | "header"
  | "bundle_shape"
  | "kid_mismatch"
  | "identity_mismatch"
  | "actor_mismatch"
  | "iat_future"
  | "expired"
  | "older"
  | "signature_invalid";

export type MembershipVerdict =
  | { readonly accepted: true; readonly actor: string; readonly iat: number; readonly exp: number }
  | { readonly accepted: false; readonly reason: MembershipReason };

/** Signs the membership of `actor` (its URL) by `identity`; `now` and `lifetime` in seconds. */
export function createMembership({
  actor,
  identity,
  now,
  lifetime,
}: {
  readonly actor: string;
  readonly identity: KeyPair;
  readonly now: number;
  readonly lifetime: number;
}): Promise<string> {
  const payload = { actor, identity: identity.publicJwk, iat: now, exp: now + lifetime };
  return signCompact(payload, jwsTypes.membership, identity);
}

/** Judges a membership beside its bundle, for the actor asked for; `heldIat` of the one held so far, times in seconds. */
export async function judgeMembership({
  membership,
  bundle,
  actor,
  heldIat = null,
  now,
}: {
  readonly membership: unknown;
  readonly bundle: unknown;
  readonly actor: string;
  readonly heldIat?: number | null;
  readonly now: number;
}): Promise<MembershipVerdict> {
  const jws = parseCompactJws(membership);
  if (jws === null) return refuse("membership_shape");
  if (!isHeaderOf(jws.header, jwsTypes.membership)) return refuse("header");
  const { iat, exp } = jws.payload;
  const identityJwk = parsePublicJwk(jws.payload.identity, suite.signature.crv);
  if (identityJwk === null || typeof jws.payload.actor !== "string") return refuse("membership_shape");
  if (!isSeconds(iat) || !isSeconds(exp)) return refuse("membership_shape");
  const content = readBundleContent(bundle);
  if (content === null) return refuse("bundle_shape");
  if (jws.header.kid !== content.identity) return refuse("kid_mismatch");
  if (thumbprint(identityJwk) !== content.identity) return refuse("identity_mismatch");
  if (!(await isSignedBy(jws, content.identityJwk))) return refuse("signature_invalid");
  if (jws.payload.actor !== actor) return refuse("actor_mismatch");
  if (iat > now + limits.clockSkew) return refuse("iat_future");
  if (now >= exp) return refuse("expired");
  if (heldIat !== null && iat < heldIat) return refuse("older");
  return { accepted: true, actor, iat, exp };
}

const isSeconds = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;

function refuse(reason: MembershipReason): MembershipVerdict {
  return { accepted: false, reason };
}
