import { judgeInvitation } from "../crypto/invitation.ts";
import { thumbprint } from "../crypto/keys.ts";
import { Problem } from "../errors.ts";
import type { GuardedFetch } from "../identity/guarded-fetch.ts";
import type { NodeKeys } from "../identity/node-keys.ts";
import { appendActivity, cancelDeliveries, type OutboxContext } from "../outbox/append.ts";
import type { Commit, MakeChange, OutboxDependencies } from "../outbox/commit.ts";
import { introducePlatforms } from "../outbox/directory.ts";
import { parseActivity } from "../protocol/activities.ts";
import { actorIds, isOrigin, splitKeyId } from "../protocol/ids.ts";
import type { JsonObject } from "../protocol/objects.ts";
import { parseStrictJson } from "../protocol/strict-json.ts";
import type { Caller } from "../registry/caller.ts";
import { endSharingWith } from "../registry/peer-endings.ts";
import { pinApprovedKeys } from "../registry/peer-pins.ts";
import { getPeer, type Peer } from "../registry/peer-views.ts";
import {
  approvePeer,
  chainLength,
  changePolicy,
  listFollows,
  type PeerActor,
  type PeerRow,
  readPeerRow,
  recordOpened,
  refuseOtherFingerprint,
  rejectPeer,
  rememberFollow,
  rememberFollowIn,
  requestPeer,
  resumePeer,
  revokePeer,
  suspendPeer,
} from "../registry/peers.ts";
import { ed25519JwksOf, findVerificationKey } from "../registry/pinned-keys.ts";
import { parseSignature, requireSignature, verifySignature } from "../signatures/policy.ts";
import type { Tx } from "../storage/database.ts";
import type { PeerPolicy } from "../storage/schema.ts";
import { fetchActorToPin } from "./peer-keys.ts";

export interface PeeringDependencies extends OutboxDependencies {
  readonly fetcher: GuardedFetch;
  readonly keys: NodeKeys;
  readonly clockSkewSeconds: number;
}

/** Whom to ask: an origin, or whoever made an invitation. */
export interface PeeringWish {
  readonly origin?: string | undefined;
  readonly invitation?: string | undefined;
  /** Only the actor that has it is asked. */
  readonly fingerprint?: string | undefined;
}

/**
 * This side asks another instance: fetches and pins its actor, and sends a Follow. It is this side's approval; with a
 * fingerprint only of the actor that has it.
 * @throws {Problem} `invalid`, `actor_unreachable`, `actor_refused`, `weak_key`, `state_conflict`, `fingerprint_mismatch`
 */
export async function requestPeering(
  dependencies: PeeringDependencies,
  commit: Commit,
  caller: Caller,
  wish: PeeringWish,
): Promise<Peer> {
  return await commit.prepared(async () => {
    const invitation = wish.invitation === undefined ? undefined : readInvitation(wish.invitation, dependencies);
    const origin = invitation?.origin ?? wish.origin ?? "";
    if (!isOrigin(origin)) {
      throw new Problem("invalid", "An origin is scheme, host and port: https://lyon.example", {
        errors: [{ path: "origin", code: "invalid", message: "must be an origin without path and final slash" }],
      });
    }
    if (origin === dependencies.origin) throw new Problem("actor_refused", "That is this node itself.");
    const actor = await fetchActorToPin(dependencies.fetcher, origin);
    if (invitation && !ed25519JwksOf(actor.keys).some((jwk) => thumbprint(jwk) === invitation.key)) {
      throw new Problem("actor_refused", "The instance does not have the key that the invitation names.");
    }
    refuseOtherFingerprint(actor.fingerprint, wish.fingerprint);
    return async (tx, context) => {
      const peer = await requestPeer(tx, caller, origin, { actor, now: context.now });
      const members = invitation ? { "hf:invitation": invitation.token } : {};
      const follow = await appendBetweenNodes(tx, context, peer, "Follow", actor.actorUri, members);
      await rememberFollow(tx, peer.id, follow.id);
      return { value: await getPeer(tx, caller, peer.id), lanes: follow.lanes };
    };
  });
}

/** @throws {Problem} `invalid` for a text that is none, `actor_refused` for one that is over or meant for another */
function readInvitation(text: string, { origin, clock }: PeeringDependencies) {
  const verdict = judgeInvitation({ text, self: origin, now: Math.floor(clock().getTime() / 1000) });
  if (verdict.accepted) return verdict.invitation;
  if (verdict.reason !== "malformed")
    throw new Problem("actor_refused", `The invitation is refused: ${verdict.reason}.`);
  const errors = [{ path: "invitation", code: "invalid_format", message: "is no invitation" }];
  throw new Problem("invalid", "That is no invitation.", { errors });
}

/**
 * Opens a stranger's Follow: fetches the actor that it names, and judges the stored signature at its arrival time.
 * With `invitationHash` only a Follow that carries that token counts: anybody may have sent the token in its name.
 * @throws {Problem} `not_found`, `state_conflict`, `actor_unreachable`, `actor_refused`, `weak_key`
 */
export async function openPeering(
  dependencies: PeeringDependencies,
  commit: Commit,
  caller: Caller,
  id: string,
  invitationHash?: string,
): Promise<Peer & { readonly signature_verified: boolean }> {
  const { database } = dependencies;
  return await commit.prepared(async () => {
    const { origin, state } = await getPeer(database.db, caller, id);
    if (state !== "pending_in") {
      throw new Problem("state_conflict", `Only a request of the other side is opened; this peer is ${state}.`, {
        state,
      });
    }
    const follows = await listFollows(database.db, origin);
    const actor = await fetchActorToPin(dependencies.fetcher, origin);
    let followIn: string | null = null;
    for (const follow of follows) {
      if (invitationHash !== undefined && follow.invitationHash !== invitationHash) continue;
      followIn ??= await judgeFollow(dependencies, actor, follow);
    }
    return async (tx, { now }) => {
      await recordOpened(tx, caller, id, { actor, followIn, now });
      return { value: { ...(await getPeer(tx, caller, id)), signature_verified: followIn !== null }, lanes: [] };
    };
  });
}

/** The id of a stored Follow when its signature was that of `actor` when it arrived; else null. */
async function judgeFollow(
  { origin, clockSkewSeconds }: PeeringDependencies,
  actor: PeerActor,
  follow: Awaited<ReturnType<typeof listFollows>>[number],
): Promise<string | null> {
  const { method, target, headers, body } = follow;
  const request = { method, target, headers, body };
  const parsed = requireSignature(parseSignature(request));
  const activity = parseActivity(parseStrictJson(follow.body));
  const keyId = splitKeyId(parsed.keyId);
  if (activity.actor !== actor.actorUri || keyId?.actor !== actor.actorUri) return null;
  const key = findVerificationKey(actor.keys, keyId.fragment, follow.arrivedAt);
  if (!key) return null;
  const verdict = await verifySignature(request, parsed, {
    key,
    origin,
    now: follow.arrivedAt,
    skewSeconds: clockSkewSeconds,
  });
  return verdict.verified ? activity.id : null;
}

/** Approves an opened Follow and sends the Accept. @throws {Problem} `state_conflict`, `fingerprint_mismatch` */
export async function approvePeering(
  dependencies: PeeringDependencies,
  commit: Commit,
  caller: Caller,
  id: string,
  fingerprint: string | undefined,
): Promise<Peer> {
  return await commit.prepared(async () => {
    const before = await getPeer(dependencies.database.db, caller, id);
    if (before.state === "suspended") return await prepareReapproval(dependencies, caller, before, fingerprint);
    return async (tx, context) => {
      const peer = await approvePeer(tx, caller, id, { fingerprint, now: context.now });
      const lanes = await acceptFollow(tx, context, dependencies.keys, peer, peer.followIn as string);
      return { value: await getPeer(tx, caller, id), lanes };
    };
  });
}

/**
 * Approves a peer anew whose keys changed without a chain that holds: the fingerprint that the administrator compared
 * must be that of the actor as it is now.
 * @throws {Problem} `state_conflict` without a fingerprint, `fingerprint_mismatch`, `actor_unreachable`, `actor_refused`
 */
async function prepareReapproval(
  dependencies: PeeringDependencies,
  caller: Caller,
  held: Peer,
  fingerprint: string | undefined,
): Promise<MakeChange<Peer>> {
  const actor = await fetchActorToPin(dependencies.fetcher, held.origin);
  if (fingerprint === undefined) {
    throw new Problem("state_conflict", "Compare the fingerprint that the peer shows now, and approve with it.", {
      state: held.state,
      fingerprint: actor.fingerprint,
    });
  }
  refuseOtherFingerprint(actor.fingerprint, fingerprint);
  return async (tx, { now }) => {
    const row = await readPeerRow(tx, held.id);
    await pinApprovedKeys(tx, caller, row, { actor, seq: chainLength(actor), now });
    await resumePeer(tx, caller, held.id, now);
    return { value: await getPeer(tx, caller, held.id), lanes: [held.id] };
  };
}

/** Rejects a request and tells the other side, where its actor is known. @throws {Problem} `state_conflict` */
export async function rejectPeering(commit: Commit, caller: Caller, id: string): Promise<Peer> {
  return await commit(async (tx, context) => {
    const peer = await readPeerRow(tx, id);
    await rejectPeer(tx, caller, peer, context.now);
    const asked = peer.followIn ?? null;
    const rejected = asked === null ? null : await appendBetweenNodes(tx, context, peer, "Reject", asked);
    return { value: await getPeer(tx, caller, id), lanes: rejected?.lanes ?? [] };
  });
}

/** Suspends a peer: refused inward, held outward, until resumed. @throws {Problem} `not_found`, `state_conflict` */
export async function suspendPeering(commit: Commit, caller: Caller, id: string): Promise<Peer> {
  return await commit(async (tx, { now }) => {
    await suspendPeer(tx, caller, id, now);
    return { value: await getPeer(tx, caller, id), lanes: [] };
  });
}

/** Ends a suspension; what was held is sent. @throws {Problem} `not_found`, `state_conflict` */
export async function resumePeering(commit: Commit, caller: Caller, id: string): Promise<Peer> {
  return await commit(async (tx, { now }) => {
    await resumePeer(tx, caller, id, now);
    return { value: await getPeer(tx, caller, id), lanes: [id] };
  });
}

/** Ends the peering for both sides and tells the other. @throws {Problem} `not_found`, `state_conflict` */
export async function revokePeering(commit: Commit, caller: Caller, id: string): Promise<Peer> {
  return await commit(async (tx, context) => {
    const peer = await endPeering(tx, caller, await readPeerRow(tx, id), context.now);
    // Theirs, where there is one: they know what they sent, but may have asked us without ever opening what we sent.
    const [type, follow] = peer.followIn === null ? ["Undo", peer.followOut] : ["Reject", peer.followIn];
    const told = follow === null ? null : await appendBetweenNodes(tx, context, peer, type as string, follow);
    return { value: await getPeer(tx, caller, id), lanes: told?.lanes ?? [] };
  });
}

/** This side of an ended peering, whoever ended it. @throws {Problem} `state_conflict` */
export async function endPeering(tx: Tx, caller: Caller, peer: PeerRow, now: Date): Promise<PeerRow> {
  const revoked = await revokePeer(tx, caller, peer, now);
  await cancelDeliveries(tx, peer.id);
  await endSharingWith(tx, peer.origin, now);
  return revoked;
}

/** Changes a peer's policy; platforms that it may learn of from now on are introduced. @throws {Problem} `not_found` */
export async function setPeerPolicy(
  { keys }: PeeringDependencies,
  commit: Commit,
  caller: Caller,
  id: string,
  change: Partial<PeerPolicy>,
): Promise<Peer> {
  return await commit(async (tx, context) => {
    const peer = await changePolicy(tx, caller, id, change, context.now);
    const lanes = peer.state === "approved" ? await introducePlatforms(tx, context, keys, peer) : [];
    return { value: await getPeer(tx, caller, id), lanes };
  });
}

/** Accept of their Follow, and our platforms: from now on both sides are peers. */
export async function acceptFollow(
  tx: Tx,
  context: OutboxContext,
  keys: NodeKeys,
  peer: PeerRow,
  follow: string,
): Promise<readonly string[]> {
  const accept = await appendBetweenNodes(tx, context, peer, "Accept", follow);
  return [...accept.lanes, ...(await introducePlatforms(tx, context, keys, peer))];
}

/** Accepts once more: a peer that follows again has lost our Accept. It knows our platforms already. */
export async function repeatAccept(
  tx: Tx,
  context: OutboxContext,
  peer: PeerRow,
  follow: string,
): Promise<readonly string[]> {
  await rememberFollowIn(tx, peer.id, follow);
  return (await appendBetweenNodes(tx, context, peer, "Accept", follow)).lanes;
}

async function appendBetweenNodes(
  tx: Tx,
  context: OutboxContext,
  peer: PeerRow,
  type: string,
  object: string,
  members: JsonObject = {},
) {
  const actor = actorIds.instance(context.origin);
  const to = [peer.actorUri ?? actorIds.instance(peer.origin)];
  return await appendActivity(tx, context, { type, actor, to, object, members }, [{ peer, recipients: [] }]);
}
