/** Rotation of a node's keys: every new pair is vouched for by the Ed25519 key before it (docs/protocol.md, "Peers"). */
import { importSPKI } from "jose";
import { ConcordatError } from "../errors.ts";
import { sha256Base64url } from "../protocol/canonical-json.ts";
import { limits } from "../protocol/limits.ts";
import { type CompactJws, isHeaderOf, isSignedBy, parseCompactJws, type SigningKey, signCompact } from "./jws.ts";
import { decodeMultikey, isWeakKey, thumbprint } from "./keys.ts";

const linkType = "hf-node-keys";
const leastRsaBits = 2048;

/** The public keys of a node as its documents carry them: RSA as SPKI PEM, Ed25519 as `publicKeyMultibase`. */
export interface NodePublicKeys {
  readonly publicKeyPem: string;
  readonly ed25519: string;
}

/** What is trusted of a node: its keys, and how many rotations led to them. */
export interface NodeKeyPin extends NodePublicKeys {
  /** 0 before the first rotation. */
  readonly seq: number;
}

/** A verified rotation: the keys that it introduces, `iat` in seconds. */
export interface NodeKeyLink extends NodeKeyPin {
  readonly iat: number;
}

export type KeyChainReason =
  | "chain_shape"
  | "chain_rollback"
  | "chain_order"
  | "chain_equivocation"
  | "header"
  | "issuer"
  | "chain_broken"
  | "prev_mismatch"
  | "signature_invalid"
  | "iat_future"
  | "weak_key"
  | "actor_keys";

interface Refusal {
  readonly accepted: false;
  readonly reason: KeyChainReason;
}

export type KeyChainVerdict =
  | {
      readonly accepted: true;
      /** What to trust from now on: the keys of the document. */
      readonly pin: NodeKeyPin;
      /** The rotations since the pin, in order; none when nothing is new. */
      readonly links: readonly NodeKeyLink[];
    }
  | Refusal;

export type FirstPinVerdict = { readonly accepted: true; readonly pin: NodeKeyPin } | Refusal;

/**
 * Signs the link that follows `chain` (all rotations so far) and introduces the keys `next`; `now` in seconds.
 * @throws {ConcordatError} `key_chain` when the chain cannot be read, or `key` is not the one that it ends in
 */
export async function createNodeKeyLink({
  origin,
  chain,
  next,
  key,
  now,
}: {
  readonly origin: string;
  readonly chain: readonly string[];
  readonly next: NodePublicKeys;
  /** The Ed25519 key in use until now. */
  readonly key: SigningKey;
  readonly now: number;
}): Promise<string> {
  const last = chain.length === 0 ? null : readLink(chain.at(-1), chain.length);
  if (typeof last === "string") {
    throw new ConcordatError("key_chain", `The last link of the node's key chain is damaged (${last}): restore it.`);
  }
  if (last !== null && kidOf(last) !== key.kid) {
    throw new ConcordatError(
      "key_chain",
      `The node's key chain ends in another Ed25519 key than ${key.kid}: sign with the key that it ends in.`,
    );
  }
  const { publicKeyPem, ed25519 } = next;
  const prev = last === null ? null : sha256Base64url(last.jws.octets);
  return signCompact({ iss: origin, seq: chain.length + 1, prev, publicKeyPem, ed25519, iat: now }, linkType, key);
}

/**
 * Judges the chain of a node against what is pinned of it; `document` holds the keys of its actor document, `now` in
 * seconds. A chain that is missing is an empty one. Links below the pin are history that the pin stands for: only the
 * pinned one is compared, those after it are verified.
 */
export async function judgeNodeKeyChain({
  pin,
  chain = [],
  document,
  origin,
  now,
}: {
  readonly pin: NodeKeyPin;
  readonly chain: unknown;
  readonly document: NodePublicKeys;
  readonly origin: string;
  readonly now: number;
}): Promise<KeyChainVerdict> {
  if (!Array.isArray(chain)) return refuse("chain_shape");
  if (chain.length < pin.seq) return refuse("chain_rollback");
  let previous: ReadLink | null = null;
  if (pin.seq > 0) {
    const pinned = readLink(chain[pin.seq - 1], pin.seq);
    if (typeof pinned === "string") return refuse(pinned);
    if (!areSameKeys(pinned, pin)) return refuse("chain_equivocation");
    previous = pinned;
  }
  let trusted: NodeKeyPin = pin;
  const links: NodeKeyLink[] = [];
  for (const text of chain.slice(pin.seq) as unknown[]) {
    const link = readLink(text, trusted.seq + 1);
    if (typeof link === "string") return refuse(link);
    const fault = await findLinkFault(link, { trusted, previous, origin, now });
    if (fault !== null) return refuse(fault);
    const { seq, publicKeyPem, ed25519, iat } = link;
    trusted = { seq, publicKeyPem, ed25519 };
    links.push({ ...trusted, iat });
    previous = link;
  }
  if (!areSameKeys(document, trusted)) return refuse("actor_keys");
  return { accepted: true, pin: pinOf(trusted.seq, document), links };
}

/**
 * The first pin of a node, or the one after the administrator has approved changed keys: people have compared the
 * fingerprint, so the links need no signature to vouch for them, but the chain must end in the document's keys.
 */
export async function pinNodeKeys({
  chain = [],
  document,
  origin,
}: {
  readonly chain: unknown;
  readonly document: NodePublicKeys;
  readonly origin: string;
}): Promise<FirstPinVerdict> {
  if (!Array.isArray(chain)) return refuse("chain_shape");
  if (!(await areStrongKeys(document))) return refuse("weak_key");
  if (chain.length > 0) {
    const last = readLink(chain.at(-1), chain.length);
    if (typeof last === "string") return refuse(last);
    if (last.iss !== origin) return refuse("issuer");
    if (!areSameKeys(document, last)) return refuse("actor_keys");
  }
  return { accepted: true, pin: pinOf(chain.length, document) };
}

interface ReadLink extends NodeKeyLink {
  readonly jws: CompactJws;
  readonly iss: string;
  readonly prev: string | null;
}

/** The link at its place in the chain; nothing of it is verified yet. */
function readLink(text: unknown, place: number): ReadLink | "chain_shape" | "header" | "chain_order" {
  const jws = parseCompactJws(text);
  if (jws === null) return "chain_shape";
  if (!isHeaderOf(jws.header, linkType)) return "header";
  const { iss, seq, prev, publicKeyPem, ed25519, iat } = jws.payload;
  if (typeof iss !== "string" || (prev !== null && typeof prev !== "string")) return "chain_shape";
  if (typeof publicKeyPem !== "string" || !isStrictPem(publicKeyPem)) return "chain_shape";
  if (typeof ed25519 !== "string" || decodeMultikey(ed25519) === null) return "chain_shape";
  if (!Number.isSafeInteger(iat) || Number(iat) < 0) return "chain_shape";
  if (seq !== place) return "chain_order";
  return { jws, iss, seq: place, prev, publicKeyPem, ed25519, iat: Number(iat) };
}

async function findLinkFault(
  link: ReadLink,
  {
    trusted,
    previous,
    origin,
    now,
  }: {
    readonly trusted: NodePublicKeys;
    readonly previous: ReadLink | null;
    readonly origin: string;
    readonly now: number;
  },
): Promise<KeyChainReason | null> {
  const signer = decodeMultikey(trusted.ed25519);
  if (link.iss !== origin) return "issuer";
  if (signer === null || link.jws.header.kid !== thumbprint(signer)) return "chain_broken";
  if (link.prev !== (previous === null ? null : sha256Base64url(previous.jws.octets))) return "prev_mismatch";
  if (!(await isSignedBy(link.jws, signer))) return "signature_invalid";
  if (link.iat > now + limits.clockSkew) return "iat_future";
  return (await areStrongKeys(link)) ? null : "weak_key";
}

function kidOf({ ed25519 }: NodePublicKeys): string | null {
  const jwk = decodeMultikey(ed25519);
  return jwk === null ? null : thumbprint(jwk);
}

/** White space in a PEM is no difference between keys. */
function areSameKeys(left: NodePublicKeys, right: NodePublicKeys): boolean {
  const bare = (pem: string) => pem.replaceAll(/\s/g, "");
  return left.ed25519 === right.ed25519 && bare(left.publicKeyPem) === bare(right.publicKeyPem);
}

/** One SPKI block and nothing beside it, as every library reads it in the same way. */
function isStrictPem(pem: string): boolean {
  return /^-----BEGIN PUBLIC KEY-----\r?\n(?:[A-Za-z0-9+/=]{1,76}\r?\n)+-----END PUBLIC KEY-----(?:\r?\n)?$/.test(pem);
}

async function areStrongKeys({ publicKeyPem, ed25519 }: NodePublicKeys): Promise<boolean> {
  const jwk = decodeMultikey(ed25519);
  if (jwk === null || isWeakKey(jwk)) return false;
  try {
    const { algorithm } = await importSPKI(publicKeyPem, "RS256");
    const { modulusLength, publicExponent } = algorithm as unknown as {
      readonly modulusLength: number;
      readonly publicExponent: Uint8Array;
    };
    // With the exponent 1 anybody can sign.
    const [least, ...higher] = publicExponent.toReversed();
    return modulusLength >= leastRsaBits && (Number(least) >= 3 || higher.some((octet) => octet > 0));
  } catch {
    return false;
  }
}

function pinOf(seq: number, { publicKeyPem, ed25519 }: NodePublicKeys): NodeKeyPin {
  return { seq, publicKeyPem, ed25519 };
}

function refuse(reason: KeyChainReason): Refusal {
  return { accepted: false, reason };
}
