/** Invitations: one string by which two nodes peer without trust at first use (docs/protocol.md, "Peers"). */
import { ConcordatError } from "../errors.ts";
import { isOrigin } from "../protocol/ids.ts";
import type { JsonObject } from "../protocol/objects.ts";
import { decodeJsonObject } from "./jws.ts";
import { decodeBase64url, encodeBase64url } from "./keys.ts";

const prefix = "concordat-invite.";
const leastTokenOctets = 32;
const thumbprintOctets = 32;
/** The last second of the year 9999: what lies behind it was meant in other units. */
const greatestExp = 253_402_300_799;

/** What an invitation says; origins without final slash. */
export interface Invitation {
  /** The node that invites. */
  readonly origin: string;
  /** Thumbprint of its Ed25519 node key, to be found in the actor fetched from `origin`. */
  readonly key: string;
  /** At least 32 random octets in base64url: the `hf:invitation` of the Follow that uses the invitation. */
  readonly token: string;
  /** The second from which it no longer counts. */
  readonly exp: number;
  /** The only origin that may use it. */
  readonly for?: string;
}

export type InvitationReason = "malformed" | "for_another" | "expired";

export type InvitationVerdict =
  | { readonly accepted: true; readonly invitation: Invitation }
  | { readonly accepted: false; readonly reason: InvitationReason };

/**
 * The text of an invitation; `token` is random and used once.
 * @throws {ConcordatError} `invitation` when a value has not the form that the invited node requires
 */
export function createInvitation({
  token,
  ...rest
}: Omit<Invitation, "token"> & { readonly token: Uint8Array }): string {
  const { origin, key, exp } = rest;
  const invitation: Invitation = {
    origin,
    key,
    token: encodeBase64url(token),
    exp,
    ...(rest.for === undefined ? {} : { for: rest.for }),
  };
  const text = `${prefix}${encodeBase64url(new TextEncoder().encode(JSON.stringify(invitation)))}`;
  if (parseInvitation(text) === null) {
    throw new ConcordatError(
      "invitation",
      `No node would take this invitation of ${origin}: give bare origins, the thumbprint of the Ed25519 node key, ` +
        `${leastTokenOctets} random octets or more, and exp in seconds.`,
    );
  }
  return text;
}

/** Takes an invitation apart, or gives null when its form is not strict; members that are not ours are left out. */
export function parseInvitation(text: unknown): Invitation | null {
  if (typeof text !== "string" || !text.startsWith(prefix)) return null;
  const decoded = decodeJsonObject(text.slice(prefix.length));
  if (decoded === null || !isInvitation(decoded.value)) return null;
  const { origin, key, token, exp } = decoded.value;
  return { origin, key, token, exp, ...(decoded.value.for === undefined ? {} : { for: decoded.value.for }) };
}

/**
 * Judges an invitation at the node invited, whose origin is `self`; `now` in seconds. Whether `key` is that of the
 * inviting node shows only when its actor has been fetched.
 */
export function judgeInvitation({
  text,
  self,
  now,
}: {
  readonly text: unknown;
  readonly self: string;
  readonly now: number;
}): InvitationVerdict {
  const invitation = parseInvitation(text);
  // Plain HTTP is for development: between nodes that have nothing better.
  if (invitation === null || (isPlain(invitation.origin) && !isPlain(self))) return refuse("malformed");
  if (invitation.for !== undefined && invitation.for !== self) return refuse("for_another");
  if (now >= invitation.exp) return refuse("expired");
  return { accepted: true, invitation };
}

function isInvitation(value: JsonObject): value is JsonObject & Invitation {
  const { origin, key, token, exp } = value;
  if (typeof origin !== "string" || !isOrigin(origin)) return false;
  if (decodeBase64url(key)?.length !== thumbprintOctets) return false;
  if ((decodeBase64url(token)?.length ?? 0) < leastTokenOctets) return false;
  if (!Number.isSafeInteger(exp) || Number(exp) < 0 || Number(exp) > greatestExp) return false;
  return !Object.hasOwn(value, "for") || (typeof value.for === "string" && isOrigin(value.for));
}

const isPlain = (origin: string) => origin.startsWith("http:");

function refuse(reason: InvitationReason): InvitationVerdict {
  return { accepted: false, reason };
}
