/** Receipts between nodes: what was done with an activity, signed by the node that did it (docs/protocol.md, "Receipts"). */
import { digestJson } from "../protocol/canonical-json.ts";
import { limits } from "../protocol/limits.ts";
import type { JsonObject } from "../protocol/objects.ts";
import { jwsTypes } from "../protocol/suite.ts";
import { instantSchema } from "../protocol/values.ts";
import { isHeaderOf, isSignedBy, parseCompactJws, type SigningKey, signCompact } from "./jws.ts";
import { type PublicJwk, thumbprint } from "./keys.ts";

const receiptEffects = ["applied", "stale", "stored", "unhandled"] as const;
export type ReceiptEffect = (typeof receiptEffects)[number];

/** The payload of a receipt: origins without final slash, `received` an instant. */
export interface Receipt {
  readonly iss: string;
  readonly to: string;
  readonly activity: string;
  readonly digest: string;
  readonly received: string;
  readonly effect: ReceiptEffect;
  /** With `stale`: the revision that the issuer holds. */
  readonly revision?: number;
}

export type ReceiptReason =
  | "receipt_shape"
  | "header"
  | "receipt_payload"
  | "issuer"
  | "to"
  | "activity"
  | "digest"
  | "effect"
  | "clock"
  | "key_unknown"
  | "signature_invalid";

export type ReceiptVerdict =
  | { readonly accepted: true; readonly receipt: Receipt }
  | { readonly accepted: false; readonly reason: ReceiptReason };

/** Signs a receipt with the node's Ed25519 key: a compact JWS of `typ` `hf-receipt+jws`. */
export function signReceipt(receipt: Receipt, key: SigningKey): Promise<string> {
  return signCompact({ ...receipt }, jwsTypes.receipt, key);
}

/**
 * Judges a receipt at the sender: by `peer`, made out to `self`, about this `activity` and its whole content, received
 * by `now` (clocks differ), signed by any of the peer's `keys`. Origins have no final slash.
 */
export async function verifyReceipt(
  text: unknown,
  expected: {
    readonly activity: Readonly<JsonObject>;
    readonly self: string;
    readonly peer: string;
    readonly keys: readonly PublicJwk[];
    readonly now: Date;
  },
): Promise<ReceiptVerdict> {
  const jws = parseCompactJws(text);
  if (jws === null) return refuse("receipt_shape");
  if (!isHeaderOf(jws.header, jwsTypes.receipt)) return refuse("header");
  const receipt = readPayload(jws.payload);
  if (receipt === null) return refuse("receipt_payload");
  if (receipt.iss !== expected.peer) return refuse("issuer");
  if (receipt.to !== expected.self) return refuse("to");
  if (receipt.activity !== expected.activity.id) return refuse("activity");
  if (receipt.digest !== digestJson(expected.activity)) return refuse("digest");
  if (!receiptEffects.includes(receipt.effect)) return refuse("effect");
  if (Date.parse(receipt.received) > expected.now.getTime() + limits.clockSkew * 1000) return refuse("clock");
  const key = expected.keys.find((candidate) => thumbprint(candidate) === jws.header.kid);
  if (key === undefined) return refuse("key_unknown");
  return (await isSignedBy(jws, key)) ? { accepted: true, receipt } : refuse("signature_invalid");
}

function readPayload(payload: JsonObject): Receipt | null {
  const { iss, to, activity, digest, received, effect, revision } = payload;
  const texts = [iss, to, activity, digest, effect];
  if (texts.some((text) => typeof text !== "string") || !instantSchema.safeParse(received).success) return null;
  if (revision !== undefined && !isRevision(revision)) return null;
  return { iss, to, activity, digest, received, effect, ...(revision === undefined ? {} : { revision }) } as Receipt;
}

const isRevision = (value: unknown) =>
  Number.isInteger(value) && Number(value) >= 1 && Number(value) <= limits.revision;

function refuse(reason: ReceiptReason): ReceiptVerdict {
  return { accepted: false, reason };
}
