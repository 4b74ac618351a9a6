/** Key bundles: what a platform publishes of its keys, and how a client judges it (docs/protocol.md, "Key bundle"). */
import { ConcordatError } from "../errors.ts";
import { sha256Base64url } from "../protocol/canonical-json.ts";
import { limits } from "../protocol/limits.ts";
import { isJsonObject, type JsonObject } from "../protocol/objects.ts";
import { jwsTypes, suite } from "../protocol/suite.ts";
import { decodeJsonObject, isHeaderOf, isSignedBy, type SigningKey, signGeneralPart } from "./jws.ts";
import {
  decodeBase64url,
  encodeBase64url,
  isWeakKey,
  type KeyPair,
  type PublicJwk,
  parsePublicJwk,
  thumbprint,
} from "./keys.ts";

/** A bundle that was judged, as read from its payload; kids are thumbprints, times integer seconds. */
export interface BundleContent {
  readonly seq: number;
  readonly prev: string | null;
  readonly iat: number;
  readonly exp: number;
  readonly identityJwk: PublicJwk;
  readonly encryptionJwk: PublicJwk;
  readonly recovery: string | null;
  /** kid of the identity. */
  readonly identity: string;
  /** kid of the encryption key. */
  readonly encryption: string;
  /** base64url SHA-256 of the payload octets: the `prev` of the next one. */
  readonly payloadDigest: string;
}

export interface AcceptedBundle extends BundleContent {
  readonly accepted: true;
  /** Signed by a recovery key that the predecessor named: an identity replaced by it ended at once. */
  readonly byRecovery: boolean;
  /** It takes the place of the known bundle of its `seq`, and drops what followed that one. */
  readonly overrides: boolean;
  /** Nothing new: this payload is known already. */
  readonly known: boolean;
}

export type BundleReason =
  | "bundle_shape"
  | "bundle_payload"
  | "weak_key"
  | "signature_header"
  | "recovery_key"
  | "signature_missing"
  | "signature_extra"
  | "signature_invalid"
  | "identity_change_unsigned"
  | "recovery_change_unsigned"
  | "predecessor_missing"
  | "prev_mismatch"
  | "seq_lower"
  | "equivocation"
  | "iat_future"
  | "expired";

export type BundleVerdict = AcceptedBundle | { readonly accepted: false; readonly reason: BundleReason };

interface Signature {
  readonly protected: string;
  readonly signature: string;
  readonly encodedPayload: string;
  readonly kid: string;
  /** The recovery key, where the header carries one. */
  readonly jwk: PublicJwk | null;
}

/** A bundle taken apart; what it says is neither judged nor verified yet. */
interface ReadBundle {
  readonly content: BundleContent;
  readonly signatures: readonly Signature[];
}

/** The accepted bundles of one platform, in order, each read once. */
export type BundleChain = readonly ReadBundle[];

/**
 * Makes the next bundle of a chain (or, without `previous`, the first): signed by `identity`; on a changed identity
 * also by `previousIdentity` or `recoveryKey`; on a changed `recovery` also by `recoveryKey` where one was named.
 * `now` in seconds, `lifetime` in seconds; `recovery` is a thumbprint.
 * @throws {ConcordatError} `bundle` when a key that has to sign is missing
 */
export async function createKeyBundle(parts: {
  readonly previous?: JsonObject;
  readonly identity: KeyPair;
  readonly encryption: { readonly publicJwk: PublicJwk };
  readonly recovery: string | null;
  readonly previousIdentity?: SigningKey;
  readonly recoveryKey?: KeyPair;
  readonly now: number;
  readonly lifetime: number;
}): Promise<JsonObject> {
  const before = parts.previous === undefined ? null : readBundle(parts.previous);
  if (before !== null && "reason" in before) {
    throw new ConcordatError("bundle", `The previous bundle cannot be read: ${before.reason}.`);
  }
  const previous = before?.content ?? null;
  const payload = {
    seq: (previous?.seq ?? 0) + 1,
    prev: previous?.payloadDigest ?? null,
    iat: parts.now,
    exp: parts.now + parts.lifetime,
    identity: parts.identity.publicJwk,
    encryption: parts.encryption.publicJwk,
    recovery: parts.recovery,
  };
  const octets = new TextEncoder().encode(JSON.stringify(payload));
  const signatures = [await signGeneralPart(octets, jwsTypes.keyBundle, parts.identity)];
  const changesIdentity = previous !== null && previous.identity !== parts.identity.kid;
  const changesRecovery = previous !== null && previous.recovery !== null && previous.recovery !== parts.recovery;
  const { recoveryKey, previousIdentity } = parts;
  const byRecovery = changesRecovery || (changesIdentity && previousIdentity === undefined);
  if (byRecovery) {
    if (recoveryKey === undefined || recoveryKey.kid !== previous?.recovery) {
      throw new ConcordatError("bundle", "This change needs the recovery key that the previous bundle names: pass it.");
    }
    signatures.push(await signGeneralPart(octets, jwsTypes.keyBundle, recoveryKey, recoveryKey.publicJwk));
  } else if (changesIdentity && previousIdentity !== undefined) {
    signatures.push(await signGeneralPart(octets, jwsTypes.keyBundle, previousIdentity));
  }
  return { payload: encodeBase64url(octets), signatures };
}

/** What a bundle says, its form, keys and header checked, its signatures and chain not; null when it is malformed. */
export function readBundleContent(bundle: unknown): BundleContent | null {
  const read = readBundle(bundle);
  return "reason" in read ? null : read.content;
}

/** Reads bundles that were accepted before, in order. Their keys were judged then; what cannot be read is left out. */
export function readBundleChain(known: readonly unknown[]): BundleChain {
  return known.map(parseBundle).filter((item): item is ReadBundle => !("reason" in item));
}

/** The `seq` that a bundle says, from its payload alone; null when it says none. */
export function readBundleSeq(bundle: unknown): number | null {
  const payload = isJsonObject(bundle) ? decodeJsonObject(bundle.payload) : null;
  return payload !== null && isCount(payload.value.seq) ? payload.value.seq : null;
}

/**
 * Judges a bundle as a client does against `known`, the bundles of that platform accepted so far, in order. `now` in
 * seconds. With `mayBeExpired` its `exp` is not judged: only that of the newest matters.
 */
export async function judgeKeyBundle({
  known,
  ...offered
}: {
  readonly known: readonly unknown[];
  readonly bundle: unknown;
  readonly now: number;
  readonly mayBeExpired?: boolean;
}): Promise<BundleVerdict> {
  const { verdict } = await judgeNextBundle({ chain: readBundleChain(known), ...offered });
  return verdict;
}

/**
 * Like `judgeKeyBundle`, for one bundle after the other: `chain` is what is accepted after this one. A payload that the
 * chain holds was verified when it was taken, and is not verified again.
 */
export async function judgeNextBundle({
  chain,
  bundle,
  now,
  mayBeExpired = false,
}: {
  readonly chain: BundleChain;
  readonly bundle: unknown;
  readonly now: number;
  readonly mayBeExpired?: boolean;
}): Promise<{ readonly verdict: BundleVerdict; readonly chain: BundleChain }> {
  const read = parseBundle(bundle);
  if ("reason" in read) return { verdict: refuse(read.reason), chain };
  const verdict = await judgeAgainstChain(chain, read, now, mayBeExpired);
  if (!verdict.accepted || verdict.known) return { verdict, chain };
  const before = verdict.overrides ? chain.filter(({ content }) => content.seq < verdict.seq) : chain;
  return { verdict, chain: [...before, read] };
}

async function judgeAgainstChain(
  chain: BundleChain,
  read: ReadBundle,
  now: number,
  mayBeExpired: boolean,
): Promise<BundleVerdict> {
  const { content } = read;
  const newest = chain.at(-1);
  const rival = chain.find((item) => item.content.seq === content.seq);
  const predecessor = chain.find((item) => item.content.seq === content.seq - 1) ?? null;
  const isKnown = rival !== undefined && rival.content.payloadDigest === content.payloadDigest;
  const weakness = isKnown ? null : findWeakKey(read);
  if (weakness !== null) return refuse(weakness);
  if (content.iat > now + limits.clockSkew) return refuse("iat_future");
  if (content.exp <= content.iat || (!mayBeExpired && now >= content.exp)) return refuse("expired");

  if (isKnown) {
    return newest === rival ? accept(content, isByRecovery(rival, predecessor), false, true) : refuse("seq_lower");
  }
  if (rival !== undefined) {
    // Only the recovery key of the predecessor tells the owner from a thief.
    const overrides = isByRecovery(read, predecessor) && !isByRecovery(rival, predecessor);
    if (!overrides) return refuse("equivocation");
    const reason = await judgeLink(read, predecessor);
    return reason === null ? accept(content, true, true, false) : refuse(reason);
  }
  if (newest === undefined) {
    const reason = await judgeSignatures(read, null);
    return reason === null ? accept(content, false, false, false) : refuse(reason);
  }
  if (content.seq < newest.content.seq) return refuse("seq_lower");
  if (predecessor === null) {
    if (content.identity !== newest.content.identity || content.recovery !== newest.content.recovery) {
      return refuse("predecessor_missing");
    }
    const reason = await judgeSignatures(read, null);
    return reason === null ? accept(content, false, false, false) : refuse(reason);
  }
  const reason = await judgeLink(read, predecessor);
  return reason === null ? accept(content, isByRecovery(read, predecessor), false, false) : refuse(reason);
}

async function judgeLink(read: ReadBundle, predecessor: ReadBundle | null): Promise<BundleReason | null> {
  if (predecessor !== null && read.content.prev !== predecessor.content.payloadDigest) return "prev_mismatch";
  return judgeSignatures(read, predecessor?.content ?? null);
}

function isByRecovery(read: ReadBundle, predecessor: ReadBundle | null): boolean {
  const recovery = predecessor?.content.recovery ?? null;
  return recovery !== null && read.signatures.some(({ kid, jwk }) => jwk !== null && kid === recovery);
}

/** Exactly the required signatures, each verified by itself; without a predecessor its own, and who else is unknown. */
async function judgeSignatures(
  { content, signatures }: ReadBundle,
  previous: BundleContent | null,
): Promise<BundleReason | null> {
  const kids = signatures.map(({ kid }) => kid);
  if (new Set(kids).size !== kids.length) return "signature_extra";
  const changesIdentity = previous !== null && previous.identity !== content.identity;
  const oldRecovery = previous?.recovery ?? null;
  const changesRecovery = previous !== null && oldRecovery !== null && oldRecovery !== content.recovery;
  const lacksKey = signatures.some(({ kid, jwk }) => kid === oldRecovery && kid !== content.identity && jwk === null);
  if (lacksKey) return "recovery_key";
  const allowed = new Set([content.identity]);
  if (changesIdentity) {
    if (!changesRecovery && kids.includes(previous.identity)) allowed.add(previous.identity);
    else if (oldRecovery !== null) allowed.add(oldRecovery);
    else allowed.add(previous.identity);
  }
  if (changesRecovery && oldRecovery !== null) allowed.add(oldRecovery);
  // Who signed a bundle whose predecessor is unknown cannot be judged beyond its own identity.
  const mayHaveMore = previous === null && content.seq > 1;
  const isAllowed = (signature: Signature) =>
    allowed.has(signature.kid) &&
    (signature.jwk !== null) === (signature.kid === oldRecovery && signature.kid !== content.identity);
  const extra = mayHaveMore ? [] : signatures.filter((signature) => !isAllowed(signature));
  const stranger = extra.filter(({ kid }) => !(changesIdentity && changesRecovery && kid === previous.identity));
  if (stranger.length > 0) return "signature_extra";
  if (!kids.includes(content.identity)) return "signature_missing";
  if (changesRecovery && oldRecovery !== null && !kids.includes(oldRecovery)) return "recovery_change_unsigned";
  if (extra.length > 0) return "signature_extra";
  if (changesIdentity && signatures.length < 2) return "identity_change_unsigned";
  for (const signature of signatures) {
    const key =
      signature.kid === content.identity
        ? content.identityJwk
        : (signature.jwk ?? (signature.kid === previous?.identity ? previous.identityJwk : null));
    if (key !== null && !(await isSignedBy(signature, key))) return "signature_invalid";
  }
  return null;
}

function readBundle(bundle: unknown): ReadBundle | { readonly reason: BundleReason } {
  const read = parseBundle(bundle);
  if ("reason" in read) return read;
  const reason = findWeakKey(read);
  return reason === null ? read : { reason };
}

/** Apart from the form, because it costs ten times as much: a point has to be computed for each key. */
function findWeakKey({ content, signatures }: ReadBundle): BundleReason | null {
  if (signatures.some(({ jwk }) => jwk !== null && isWeakKey(jwk))) return "recovery_key";
  return isWeakKey(content.identityJwk) || isWeakKey(content.encryptionJwk) ? "weak_key" : null;
}

function parseBundle(bundle: unknown): ReadBundle | { readonly reason: BundleReason } {
  if (!isJsonObject(bundle) || Object.keys(bundle).sort().join() !== "payload,signatures")
    return { reason: "bundle_shape" };
  const payload = decodeJsonObject(bundle.payload);
  const { signatures: list } = bundle;
  // A bundle never needs more than two; more than a few are not worth a look.
  if (payload === null || !Array.isArray(list) || list.length === 0 || list.length > 4)
    return { reason: "bundle_shape" };
  const signatures: Signature[] = [];
  for (const item of list as unknown[]) {
    if (!isJsonObject(item) || Object.keys(item).sort().join() !== "protected,signature")
      return { reason: "bundle_shape" };
    const header = decodeJsonObject(item.protected);
    if (header === null || decodeBase64url(item.signature) === null) return { reason: "bundle_shape" };
    const hasJwk = Object.hasOwn(header.value, "jwk");
    if (!isHeaderOf(header.value, jwsTypes.keyBundle, hasJwk ? ["jwk"] : [])) return { reason: "signature_header" };
    const jwk = hasJwk ? parsePublicJwk(header.value.jwk, suite.signature.crv) : null;
    const kid = header.value.kid as string;
    if (hasJwk && (jwk === null || thumbprint(jwk) !== kid)) return { reason: "recovery_key" };
    signatures.push({
      protected: item.protected as string,
      signature: item.signature as string,
      encodedPayload: bundle.payload as string,
      kid,
      jwk,
    });
  }
  const content = readPayload(payload.value, payload.octets);
  return content === null ? { reason: "bundle_payload" } : { content, signatures };
}

function readPayload(payload: JsonObject, octets: Uint8Array): BundleContent | null {
  const { seq, prev, iat, exp, recovery } = payload;
  const identityJwk = parsePublicJwk(payload.identity, suite.signature.crv);
  const encryptionJwk = parsePublicJwk(payload.encryption, suite.encryption.crv);
  if (identityJwk === null || encryptionJwk === null) return null;
  if (!isCount(seq) || seq < 1 || seq > limits.revision || !isCount(iat) || !isCount(exp)) return null;
  if (seq === 1 ? prev !== null : !isDigest(prev)) return null;
  if (recovery !== null && !isDigest(recovery)) return null;
  return {
    seq,
    prev: prev as string | null,
    iat,
    exp,
    identityJwk,
    encryptionJwk,
    recovery,
    identity: thumbprint(identityJwk),
    encryption: thumbprint(encryptionJwk),
    payloadDigest: sha256Base64url(octets),
  };
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;
const isDigest = (value: unknown): value is string => decodeBase64url(value)?.length === 32;

function accept(content: BundleContent, byRecovery: boolean, overrides: boolean, known: boolean): AcceptedBundle {
  return { accepted: true, ...content, byRecovery, overrides, known };
}

function refuse(reason: BundleReason): BundleVerdict {
  return { accepted: false, reason };
}
