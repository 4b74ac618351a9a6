/** Platform receipts: that an envelope was opened, signed by the identity that opened it (docs/protocol.md, "Receipts"). */
import { digestJson } from "../protocol/canonical-json.ts";
import { isJsonObject, type JsonObject } from "../protocol/objects.ts";
import { instantSchema, revisionSchema } from "../protocol/values.ts";
import { revisionOf } from "./envelope-inspection.ts";
import { isHeaderOf, isSignedBy, parseCompactJws, type SigningKey, signCompact } from "./jws.ts";
import { type PublicJwk, thumbprint } from "./keys.ts";

const readReceiptType = "hf-read+jws";

/** The payload of a platform receipt, the `hf:receipt` of a Read. */
export interface ReadReceipt {
  /** The platform that opened the envelope. */
  readonly actor: string;
  /** The platform that sent it. */
  readonly to: string;
  /** Id of the object. */
  readonly object: string;
  /** Its `hf:revision`; of a transition its `hf:seq`. */
  readonly revision: number;
  /** Digest of `hf:sealed`. */
  readonly envelope: string;
  /** Instant. */
  readonly opened: string;
}

export type ReadReceiptReason =
  | "receipt_shape"
  | "header"
  | "receipt_payload"
  | "actor"
  | "to"
  | "object"
  | "revision"
  | "envelope"
  | "key_unknown"
  | "signature_invalid"
  | "not_a_recipient";

export type ReadReceiptVerdict =
  | { readonly accepted: true; readonly receipt: ReadReceipt }
  | { readonly accepted: false; readonly reason: ReadReceiptReason };

/** Signs a platform receipt with the reader's identity: a compact JWS of `typ` `hf-read+jws`. */
export function signReadReceipt(receipt: ReadReceipt, identity: SigningKey): Promise<string> {
  const { actor, to, object, revision, envelope, opened } = receipt;
  return signCompact({ actor, to, object, revision, envelope, opened }, readReceiptType, identity);
}

/** Digest of an object's envelope, the `envelope` of its receipts; null where the object has none. */
export function envelopeDigest(object: Readonly<JsonObject>): string | null {
  const sealed = object["hf:sealed"];
  return isJsonObject(sealed) ? digestJson(sealed) : null;
}

/**
 * Judges a platform receipt at the sender `self`: by the actor of the Read, about the object that it names, which is
 * the `object` as sent, signed by any of the reader's `identities`, one of whose `encryptionKids` it was sealed for.
 */
export async function verifyReadReceipt(
  text: unknown,
  expected: {
    /** `actor` of the Read. */
    readonly actor: string;
    /** The id that is the Read's `object`. */
    readonly names: string;
    readonly self: string;
    readonly object: Readonly<JsonObject>;
    /** Of all bundles of the reader's chain, like `encryptionKids`. */
    readonly identities: readonly PublicJwk[];
    readonly encryptionKids: readonly string[];
  },
): Promise<ReadReceiptVerdict> {
  const jws = parseCompactJws(text);
  if (jws === null) return refuse("receipt_shape");
  if (!isHeaderOf(jws.header, readReceiptType)) return refuse("header");
  const receipt = readPayload(jws.payload);
  if (receipt === null) return refuse("receipt_payload");
  const { object } = expected;
  if (receipt.actor !== expected.actor) return refuse("actor");
  if (receipt.to !== expected.self) return refuse("to");
  if (receipt.object !== expected.names || receipt.object !== object.id) return refuse("object");
  if (receipt.revision !== revisionOf(object)) return refuse("revision");
  if (receipt.envelope !== envelopeDigest(object)) return refuse("envelope");
  const key = expected.identities.find((candidate) => thumbprint(candidate) === jws.header.kid);
  if (key === undefined) return refuse("key_unknown");
  if (!(await isSignedBy(jws, key))) return refuse("signature_invalid");
  const kids = recipientKids(object);
  if (!expected.encryptionKids.some((kid) => kids.includes(kid))) return refuse("not_a_recipient");
  return { accepted: true, receipt };
}

function readPayload(payload: JsonObject): ReadReceipt | null {
  const { actor, to, object, revision, envelope, opened } = payload;
  if ([actor, to, object, envelope].some((text) => typeof text !== "string")) return null;
  if (!revisionSchema.safeParse(revision).success || !instantSchema.safeParse(opened).success) return null;
  return { actor, to, object, revision, envelope, opened } as ReadReceipt;
}

/** The envelope is the sender's own and was inspected when it was sent; here only its kids are read. */
function recipientKids(object: Readonly<JsonObject>): readonly unknown[] {
  const sealed = object["hf:sealed"];
  const recipients: unknown = isJsonObject(sealed) ? sealed.recipients : null;
  if (!Array.isArray(recipients)) return [];
  return recipients.map((item: unknown) => (isJsonObject(item) && isJsonObject(item.header) ? item.header.kid : null));
}

function refuse(reason: ReadReceiptReason): ReadReceiptVerdict {
  return { accepted: false, reason };
}
