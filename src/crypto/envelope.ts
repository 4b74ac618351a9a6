/** Sealing objects and opening them as a reader (docs/protocol.md, "Sealed envelope"). */
import { GeneralEncrypt, generalDecrypt, importJWK } from "jose";
import { ConcordatError } from "../errors.ts";
import { canonicalJson, clearDigest } from "../protocol/canonical-json.ts";
import { isLive } from "../protocol/grants.ts";
import { type Grant, isJsonObject, type JsonObject, typesOf } from "../protocol/objects.ts";
import { parseStrictJson } from "../protocol/strict-json.ts";
import { jwsTypes, suite } from "../protocol/suite.ts";
import { instantSchema } from "../protocol/values.ts";
import { encodeBinding, readEnvelopeKids, revisionOf } from "./envelope-inspection.ts";
import { isHeaderOf, isSignedBy, parseCompactJws, type SigningKey, signCompact } from "./jws.ts";
import { decodeBase64url, isWeakKey, type PrivateJwk, type PublicJwk, thumbprint } from "./keys.ts";

/** The payload's length is a multiple of this. */
const padOctets = 1024;
/** A superseded identity may seal new revisions for this long, seconds from the superseding bundle's `iat`. */
const supersededGrace = 30 * 86_400;

/** An identity of a sender: the current one, or one that ended at `until` (`iat` of the superseding bundle, seconds). */
export interface SenderIdentity {
  readonly jwk: PublicJwk;
  readonly until?: number;
  readonly endedBy?: "rotation" | "recovery";
}

/** What a reader holds and knows when it opens an object. */
export interface ReaderKnowledge {
  /** Revisions of the object that it verified as sealed by the owner. */
  readonly verified?: readonly Readonly<JsonObject>[];
  /** Revision → digest of the object held at it. */
  readonly held?: Readonly<Record<string, string>>;
  /** Of a transition: the actors that the state machine allows this move. */
  readonly movers?: readonly string[];
}

export type OpenReason =
  | "envelope_shape"
  | "not_a_recipient"
  | "decrypt_failed"
  | "inner_form"
  | "inner_header"
  | "inner_payload"
  | "sender_key"
  | "inner_signature"
  | "recipients_unsorted"
  | "recipients_mismatch"
  | "object_mismatch"
  | "revision_mismatch"
  | "aad_mismatch"
  | "clear_mismatch"
  | "prev_mismatch"
  | "sender_not_allowed"
  | "owner_changed"
  | "grantee_changed_clear"
  | "identity_superseded";

export type OpenVerdict =
  | {
      readonly accepted: true;
      readonly content: JsonObject;
      readonly sender: string;
      readonly byOwner: boolean;
      readonly issuedAt: string;
      readonly kid: string;
    }
  | { readonly accepted: false; readonly reason: OpenReason };

/**
 * Seals `object` (without `hf:sealed`) for `recipients`, each once, and gives it with its envelope. `prev` is the digest
 * of the object at the previous revision as the sender knew it: null at revision 1 and for transitions.
 * @throws {ConcordatError} `seal` for no recipient, a weak key, or a recipient named twice
 * @throws {Problem} `malformed_json` when `content` is no strict JSON, which no reader would accept
 */
export async function sealObject({
  object,
  sender,
  identity,
  recipients,
  content,
  prev,
  now,
}: {
  readonly object: Readonly<JsonObject>;
  readonly sender: string;
  readonly identity: SigningKey;
  readonly recipients: readonly PublicJwk[];
  readonly content: Readonly<JsonObject>;
  readonly prev: string | null;
  readonly now: Date;
}): Promise<JsonObject> {
  const { "hf:sealed": _sealed, ...clear } = object;
  const kids = recipients.map(thumbprint).sort();
  if (kids.length === 0 || new Set(kids).size !== kids.length || recipients.some(isWeakKey)) {
    throw new ConcordatError("seal", "An object is sealed for one or more strong keys, each named once.");
  }
  const payload = {
    object: clear.id,
    revision: revisionOf(clear),
    sender,
    recipients: kids,
    issuedAt: now.toISOString(),
    clear: clearDigest(clear),
    prev,
    content,
    pad: "",
  };
  const octets = new TextEncoder().encode(JSON.stringify(payload)).length;
  payload.pad = "0".repeat((padOctets - (octets % padOctets)) % padOctets);
  // A reader parses strictly: what it would refuse must not be sealed.
  parseStrictJson(new TextEncoder().encode(JSON.stringify(payload)));
  const inner = await signCompact(payload, jwsTypes.sealed, identity);
  const binding = canonicalJson({ object: clear.id, revision: payload.revision, sender });
  const encryption = new GeneralEncrypt(new TextEncoder().encode(inner))
    .setProtectedHeader({ enc: suite.encryption.enc, alg: suite.encryption.alg })
    .setAdditionalAuthenticatedData(new TextEncoder().encode(binding));
  for (const { kty, crv, x } of recipients) {
    const key = await importJWK({ kty, crv, x }, suite.encryption.alg);
    encryption.addRecipient(key).setUnprotectedHeader({ kid: thumbprint({ kty, crv, x }) });
  }
  return { ...clear, "hf:sealed": { ...(await encryption.encrypt()) } };
}

/**
 * Opens an object as one of its readers with all checks; `keys` are the reader's encryption keys, retired ones too.
 * `isNew`: a revision seen for the first time, not one from history. Anything refused is kept as evidence by the caller.
 */
export async function openObject({
  object,
  keys,
  identitiesOf,
  known = {},
  isNew,
  now,
}: {
  readonly object: Readonly<JsonObject>;
  readonly keys: readonly { readonly kid: string; readonly privateJwk: PrivateJwk }[];
  /** Verified identities of an actor, every one of its chain; empty for a stranger. */
  readonly identitiesOf: (actor: string) => readonly SenderIdentity[];
  readonly known?: ReaderKnowledge;
  readonly isNew: boolean;
  readonly now: Date;
}): Promise<OpenVerdict> {
  const sealed = object["hf:sealed"];
  const kids = readEnvelopeKids(sealed);
  if (kids === null) return refuse("envelope_shape");
  const own = keys.find(({ kid }) => kids.includes(kid));
  if (own === undefined) return refuse("not_a_recipient");
  const plaintext = await decrypt(sealed as JsonObject, kids.indexOf(own.kid), own.privateJwk);
  if (plaintext === null) return refuse("decrypt_failed");

  const jws = parseCompactJws(plaintext);
  if (jws === null) return refuse("inner_form");
  if (!isHeaderOf(jws.header, jwsTypes.sealed)) return refuse("inner_header");
  const { payload } = jws;
  const { sender, recipients, issuedAt, content, prev } = payload;
  if (typeof sender !== "string" || !isJsonObject(content) || !instantSchema.safeParse(issuedAt).success) {
    return refuse("inner_payload");
  }
  if (!isTextList(recipients) || (prev !== null && typeof prev !== "string")) return refuse("inner_payload");
  const identity = identitiesOf(sender).find(({ jwk }) => thumbprint(jwk) === jws.header.kid);
  if (identity === undefined) return refuse("sender_key");
  if (!(await isSignedBy(jws, identity.jwk))) return refuse("inner_signature");
  if (recipients.some((kid, index) => index > 0 && kid <= String(recipients[index - 1]))) {
    return refuse("recipients_unsorted");
  }
  if (recipients.join() !== [...kids].sort().join()) return refuse("recipients_mismatch");
  if (payload.object !== object.id) return refuse("object_mismatch");
  const revision = revisionOf(object);
  if (payload.revision !== revision) return refuse("revision_mismatch");
  if ((sealed as JsonObject).aad !== encodeBinding(object.id, revision, sender)) return refuse("aad_mismatch");
  if (payload.clear !== clearDigest(object)) return refuse("clear_mismatch");
  if (!isPrevRight(object, prev, known.held ?? {})) return refuse("prev_mismatch");
  const right = judgeSender(object, sender, known, now);
  if (right !== null) return refuse(right);
  if (isNew && !maySealNow(identity, now)) return refuse("identity_superseded");
  const byOwner = sender === object.attributedTo;
  return { accepted: true, content, sender, byOwner, issuedAt: String(issuedAt), kid: String(jws.header.kid) };
}

/** The plaintext for the recipient at `index`, chosen by its kid: jose by itself would try them all. */
async function decrypt(sealed: JsonObject, index: number, privateJwk: PrivateJwk): Promise<string | null> {
  const { protected: header, aad, iv, ciphertext, tag } = sealed as Record<string, string>;
  const recipient = (sealed.recipients as { header: JsonObject; encrypted_key: string }[])[index];
  if (recipient === undefined || header === undefined || aad === undefined || iv === undefined) return null;
  if (ciphertext === undefined || tag === undefined || decodeBase64url(aad) === null) return null;
  try {
    const jwe = { protected: header, aad, iv, ciphertext, tag, recipients: [recipient] };
    const { plaintext } = await generalDecrypt(jwe, privateJwk, {
      keyManagementAlgorithms: [suite.encryption.alg],
      contentEncryptionAlgorithms: [suite.encryption.enc],
    });
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(plaintext);
  } catch {
    return null;
  }
}

function isPrevRight(
  object: Readonly<JsonObject>,
  prev: string | null,
  held: Readonly<Record<string, string>>,
): boolean {
  if (typesOf(object).includes("hf:Transition") || object["hf:revision"] === 1) return prev === null;
  if (prev === null) return false;
  const before = held[String(Number(object["hf:revision"]) - 1)];
  return before === undefined || before === prev;
}

/** May this sender seal this revision? The owner, the party allowed the move, or an editable grantee of the owner's word. */
function judgeSender(
  object: Readonly<JsonObject>,
  sender: string,
  known: ReaderKnowledge,
  now: Date,
): OpenReason | null {
  const verified = known.verified ?? [];
  if (verified.some((revision) => revision.attributedTo !== object.attributedTo)) return "owner_changed";
  if (typesOf(object).includes("hf:Transition")) {
    const mayMove = known.movers?.includes(sender) === true && sender === object.attributedTo;
    return mayMove ? null : "sender_not_allowed";
  }
  if (sender === object.attributedTo) return null;
  if (!typesOf(object).includes("hf:Project")) return "sender_not_allowed";
  const lower = verified.filter((revision) => Number(revision["hf:revision"]) < Number(object["hf:revision"]));
  const basis = lower.sort((one, other) => Number(other["hf:revision"]) - Number(one["hf:revision"]))[0];
  if (basis === undefined) return "sender_not_allowed";
  const grants = Array.isArray(basis["hf:grants"])
    ? ((basis["hf:grants"] as unknown[]).filter(isJsonObject) as unknown as Grant[])
    : [];
  const mayEdit = grants.some((grant) => grant.platform === sender && grant.mode === "editable" && isLive(grant, now));
  if (!mayEdit) return "sender_not_allowed";
  const members = ["hf:grants", "hf:code"] as const;
  const pick = (revision: Readonly<JsonObject>) => canonicalJson(members.map((member) => revision[member] ?? null));
  return pick(basis) === pick(object) ? null : "grantee_changed_clear";
}

function maySealNow({ until, endedBy }: SenderIdentity, now: Date): boolean {
  if (until === undefined) return true;
  return endedBy !== "recovery" && now.getTime() / 1000 < until + supersededGrace;
}

const isTextList = (value: unknown): value is readonly string[] =>
  Array.isArray(value) && value.every((item) => typeof item === "string");

function refuse(reason: OpenReason): OpenVerdict {
  return { accepted: false, reason };
}
