/**
 * From a request to a verified activity, in the order of docs/protocol.md, "Answers": what is malformed, the host, the
 * signature's presence, the peer, the signature, the origins.
 */
import { Problem } from "../errors.ts";
import { type Activity, parseActivity } from "../protocol/activities.ts";
import { actorIds, originOf, splitKeyId } from "../protocol/ids.ts";
import { parseStrictJson } from "../protocol/strict-json.ts";
import type { RefreshPeerKeys } from "../registry/peer-pins.ts";
import type { PeerRow } from "../registry/peers.ts";
import { findVerificationKey } from "../registry/pinned-keys.ts";
import type { ParsedSignature } from "../signatures/parsed-signature.ts";
import { parseSignature, requireSignature, verifyDigests, verifySignature } from "../signatures/policy.ts";
import { type HttpRequest, readHeaderLines } from "../signatures/request.ts";
import { type Intent, readIntent } from "./intent.ts";
import type { ReadPeer } from "./peer-reader.ts";

/** A request to an inbox: the signed message as it came, from which address and when. */
export interface InboxRequest extends HttpRequest {
  readonly body: Uint8Array;
  readonly address: string;
  readonly arrivedAt: Date;
}

/** An activity, and what it asks for. */
export interface ReadActivity {
  readonly activity: Activity;
  readonly intent: Intent;
}

export type ReadSignature = ReturnType<typeof parseSignature>;

/** What can be read without knowing who sent it. */
export interface ReadRequest extends ReadActivity {
  readonly request: InboxRequest;
  readonly signature: ReadSignature;
}

export interface VerifiedActivity extends ReadActivity {
  readonly peer: PeerRow;
}

/** A peer whose signature was verified, and which of its actors signed. */
export interface PeerSender {
  readonly peer: PeerRow;
  readonly signer: string;
}

/** A Follow of an origin that nobody here has spoken with: kept for the administrator, verified when it is opened. */
export interface StrangersFollow {
  readonly origin: string;
  readonly request: InboxRequest;
  /** The token of an invitation, where the Follow carries one. */
  readonly invitation: string | null;
}

/** Who sent a request: a peer whose signature was verified, or a stranger who asks to become one. */
export type Sender =
  | (PeerSender & { readonly from: "peer" })
  | { readonly from: "stranger"; readonly follow: StrangersFollow };

export interface VerifyDependencies {
  readonly readPeer: ReadPeer;
  readonly origin: string;
  readonly clockSkewSeconds: number;
  readonly refreshPeerKeys: RefreshPeerKeys;
}

/** @throws {Problem} `malformed_*`, `wrong_host` */
export function readRequest(request: InboxRequest, origin: string): ReadRequest {
  const read = readActivity(parseStrictJson(request.body));
  const signature = parseSignature(request);
  requireHost(request, origin);
  return { ...read, request, signature };
}

/** @throws {Problem} `malformed_activity`, `malformed_id`, `too_large` */
export function readActivity(value: unknown): ReadActivity {
  const activity = parseActivity(value);
  return { activity, intent: readIntent(activity) };
}

/** @throws {Problem} `wrong_host`: the canonical origin is the only one that is answered */
export function requireHost(request: HttpRequest, origin: string): void {
  const hosts = readHeaderLines(request, "host");
  if (hosts.length !== 1 || hosts[0]?.toLowerCase() !== new URL(origin).host) throw new Problem("wrong_host");
}

/** The origin that a signature claims, for the journal and the size limit; nothing is proved by it. */
export function claimedOrigin(signature: ReadSignature): string | null {
  const key = signature.keyId === null ? null : splitKeyId(signature.keyId);
  return key ? new URL(key.actor).origin : null;
}

/** The same of a request whose signature may be unreadable: then nothing is claimed, and it is refused in its turn. */
export function readClaimedOrigin(request: HttpRequest): string | null {
  try {
    return claimedOrigin(parseSignature(request));
  } catch {
    return null;
  }
}

/**
 * Finds out who sent a request. What is refused here was sent by nobody knows whom: the signature proves nothing yet.
 * @throws {Problem} `signature_*`, `peer_not_approved`; for a stranger's Follow `actor_mismatch`, `foreign_id`, `not_for_us`
 */
export async function identifySender(
  dependencies: VerifyDependencies,
  { request, activity, intent, signature }: ReadRequest,
): Promise<Sender> {
  const { origin } = dependencies;
  const parsed = requireSignature(signature);
  const key = readKeyId(parsed);
  const from = originOf(key.actor);
  const peer = await dependencies.readPeer(from);

  if (!peer || !mayPost(peer, intent)) {
    if (intent.kind !== "follow" || peer?.state === "suspended") throw new Problem("peer_not_approved");
    const digests = verifyDigests(request, parsed);
    if (!digests.verified) throw new Problem(digests.code, digests.detail);
    requireOrigins(activity, key.actor, from);
    if (intent.object !== actorIds.instance(origin)) {
      throw new Problem("not_for_us", "A Follow is of the instance actor.");
    }
    const token = activity.whole["hf:invitation"];
    return {
      from: "stranger",
      follow: { origin: from, request, invitation: typeof token === "string" ? token : null },
    };
  }
  return { from: "peer", peer: await verifyByPeer(dependencies, request, { parsed, peer }), signer: key.actor };
}

/**
 * The approved peer whose instance actor signed a request: who may read here, and who may send batches.
 * @throws {Problem} `signature_*`, `peer_not_approved`, `actor_mismatch`
 */
export async function identifyInstance(
  dependencies: VerifyDependencies,
  request: HttpRequest & { readonly arrivedAt: Date },
  signature: ReadSignature,
): Promise<PeerSender> {
  const parsed = requireSignature(signature);
  const { actor } = readKeyId(parsed);
  const peer = await dependencies.readPeer(originOf(actor));
  if (peer?.state !== "approved") throw new Problem("peer_not_approved");
  const known = await verifyByPeer(dependencies, request, { parsed, peer });
  if (actor !== actorIds.instance(peer.origin)) throw new Problem("actor_mismatch");
  return { peer: known, signer: actor };
}

/** @throws {Problem} `signature_key` */
function readKeyId({ keyId }: ParsedSignature): NonNullable<ReturnType<typeof splitKeyId>> {
  const key = splitKeyId(keyId);
  if (!key) throw new Problem("signature_key", "The keyid is an actor's id and the name of its key.");
  return key;
}

/** Verifies a signature by a key of `peer`, whose row it gives as it is now. @throws {Problem} `signature_*` */
async function verifyByPeer(
  { origin, clockSkewSeconds, refreshPeerKeys }: VerifyDependencies,
  request: HttpRequest & { readonly arrivedAt: Date },
  { parsed, peer }: { readonly parsed: ParsedSignature; readonly peer: PeerRow },
): Promise<PeerRow> {
  const { fragment } = readKeyId(parsed);
  const { known, pinned } = await findKey(refreshPeerKeys, peer, fragment, request.arrivedAt);
  const verdict = await verifySignature(request, parsed, {
    key: pinned,
    origin,
    now: request.arrivedAt,
    skewSeconds: clockSkewSeconds,
  });
  if (!verdict.verified) throw new Problem(verdict.code, verdict.detail);
  return known;
}

/** The pinned key of that name; where there is none, the peer may have rotated its keys. @throws {Problem} `signature_key` */
async function findKey(refreshPeerKeys: RefreshPeerKeys, peer: PeerRow, fragment: string, now: Date) {
  const pinned = findVerificationKey(peer.keys ?? [], fragment, now);
  if (pinned) return { known: peer, pinned };
  const known = peer.state === "approved" ? await refreshPeerKeys(peer) : peer;
  if (known.state !== peer.state) throw new Problem("peer_not_approved");
  const fresh = findVerificationKey(known.keys ?? [], fragment, now);
  if (!fresh) throw new Problem("signature_key");
  return { known, pinned: fresh };
}

/** What a peer may say: for itself, of its own origin, within its policy. @throws {Problem} `actor_mismatch`, `foreign_id`, `peer_policy` */
export function authoriseActivity({ activity, intent }: ReadActivity, { peer, signer }: PeerSender): VerifiedActivity {
  requireOrigins(activity, signer, peer.origin);
  if (peer.policy.activities !== "all" && !peer.policy.activities.includes(activity.type)) {
    throw new Problem("peer_policy");
  }
  return { activity, intent, peer };
}

/** An approved peer may post anything; one that we asked may answer, or ask us in turn. */
function mayPost(peer: PeerRow, intent: Intent): boolean {
  if (peer.state === "approved") return true;
  return peer.state === "pending_out" && ["follow", "accept", "reject"].includes(intent.kind);
}

/** `id`, `actor` and key share one origin; the key is the actor's own or that of its origin's instance actor. */
function requireOrigins(activity: Activity, signer: string, from: string): void {
  if (signer !== activity.actor && signer !== actorIds.instance(from)) throw new Problem("actor_mismatch");
  if (originOf(activity.actor) !== from) throw new Problem("actor_mismatch");
  if (originOf(activity.id) !== from)
    throw new Problem("foreign_id", "The activity's id is not on its actor's origin.");
}
