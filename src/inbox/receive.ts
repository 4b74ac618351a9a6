/** The inbox: verify, then one transaction with the effect, its journal rows and the signed receipt. */
import { eq } from "drizzle-orm";
import { signReceipt } from "../crypto/receipts.ts";
import { Problem } from "../errors.ts";
import type { NodeKeys } from "../identity/node-keys.ts";
import { commitChange, type OutboxDependencies } from "../outbox/commit.ts";
import { makeLaneDue } from "../outbox/lanes.ts";
import type { RefreshPeerKeys } from "../outbox/peer-keys.ts";
import { digestJson } from "../protocol/canonical-json.ts";
import { system } from "../registry/caller.ts";
import { hashToken } from "../registry/invitations.ts";
import { countRefusal, recordEffects, recordRefusal } from "../registry/journal.ts";
import { findPeer, type PeerRow, storeFollow } from "../registry/peers.ts";
import { isUniqueViolation, type Tx } from "../storage/database.ts";
import type { KeyValue } from "../storage/key-value.ts";
import { receivedActivities } from "../storage/schema.ts";
import { applyActivity } from "./handlers.ts";
import {
  authoriseActivity,
  claimedOrigin,
  type InboxRequest,
  identifySender,
  type ReadRequest,
  readRequest,
  type Sender,
  type StrangersFollow,
  type VerifiedActivity,
} from "./verify.ts";

export interface InboxDependencies extends OutboxDependencies {
  readonly keys: NodeKeys;
  readonly keyValue: KeyValue;
  readonly clockSkewSeconds: number;
  readonly refreshPeerKeys: RefreshPeerKeys;
  /** Says that somebody came with an invitation; called after the commit. */
  readonly admitInvited: () => void;
}

/** Body of the 202: the receipt, or nothing for a stranger's Follow. */
export interface Accepted {
  readonly receipt?: string;
}

const followsPerMinute = 10;
/** Refusals in a peer's name, but without its signature, that one address is given entries for. */
const unprovedPerMinute = 100;

/**
 * Takes one activity in. Everything is stored when this returns; when it throws, nothing has changed but the journal.
 * @throws {Problem} the refusals of docs/protocol.md, "Answers"
 */
export async function receiveActivity(dependencies: InboxDependencies, request: InboxRequest): Promise<Accepted> {
  const read = readRequest(request, dependencies.origin);
  const sender = await identify(dependencies, read);
  if (sender.from === "stranger") return {};
  await wakeLane(dependencies, sender.peer.id);
  try {
    await chargeQuota(dependencies, sender.peer, request.arrivedAt);
    const verified = authoriseActivity(read, sender);
    return { receipt: await acceptOnce(dependencies, verified, request.arrivedAt) };
  } catch (error) {
    if (error instanceof Problem) await journalRefusal(dependencies, read, error);
    throw error;
  }
}

/** Who sent it; a stranger's Follow is kept here. What is refused is nobody's yet, and is journaled as such. */
async function identify(dependencies: InboxDependencies, read: ReadRequest): Promise<Sender> {
  try {
    const sender = await identifySender(dependencies, read);
    if (sender.from === "stranger") await keepFollow(dependencies, sender.follow);
    return sender;
  } catch (error) {
    if (error instanceof Problem) await journalUnproved(dependencies, read, error);
    throw error;
  }
}

/** The peer is there: what waits for it is due, whatever becomes of what it sends. */
async function wakeLane({ database, wake }: InboxDependencies, peerId: string): Promise<void> {
  if (await makeLaneDue(database.db, peerId)) wake(peerId);
}

/** What a peer may send in a minute and in a day. @throws {Problem} `rate_limited` */
async function chargeQuota({ keyValue }: InboxDependencies, { id, policy }: PeerRow, now: Date): Promise<void> {
  const windows = [
    { greatest: policy.per_minute, seconds: 60 },
    { greatest: policy.per_day, seconds: 86_400 },
  ];
  for (const { greatest, seconds } of windows) {
    if (greatest === null) continue;
    const window = Math.floor(now.getTime() / 1000 / seconds);
    const sent = await keyValue.increment(`quota:${id}:${seconds}:${window}`, seconds * 1000);
    if (sent > greatest) {
      const left = (window + 1) * seconds - Math.floor(now.getTime() / 1000);
      throw new Problem("rate_limited", "The quota for this peer is used up.", { retry_after: left });
    }
  }
}

/** A first or a repeated activity: the effect once, the same receipt every time. */
async function acceptOnce(
  dependencies: InboxDependencies,
  verified: VerifiedActivity,
  arrivedAt: Date,
): Promise<string> {
  const digest = digestJson(verified.activity.whole);
  try {
    return await acceptActivity(dependencies, verified, digest, arrivedAt);
  } catch (error) {
    if (!isUniqueViolation(error)) throw error;
    // The same activity was being received at the same time: the other one's row is there now.
    return await acceptActivity(dependencies, verified, digest, arrivedAt);
  }
}

async function acceptActivity(
  dependencies: InboxDependencies,
  verified: VerifiedActivity,
  digest: string,
  arrivedAt: Date,
): Promise<string> {
  const { activity, peer } = verified;
  return await commitChange(dependencies, async (tx, { origin }) => {
    const stored = await findStored(tx, activity.id, digest);
    if (stored !== null) return { value: stored, lanes: [] };

    const { keys } = dependencies;
    const { effect, revision, recipients, lanes } = await applyActivity(tx, { origin, keys, now: arrivedAt }, verified);
    const received = arrivedAt.toISOString();
    const receipt = await signReceipt(
      {
        iss: origin,
        to: peer.origin,
        activity: activity.id,
        digest,
        received,
        effect,
        ...(effect === "stale" && revision !== undefined ? { revision } : {}),
      },
      keys.ed25519,
    );
    await tx.insert(receivedActivities).values({
      id: activity.id,
      digest,
      origin: peer.origin,
      actor: activity.actor,
      type: activity.type,
      objectUri: activity.objectId,
      recipients: [...(recipients ?? [])],
      effect,
      receipt,
      receivedAt: arrivedAt,
      body: activity.whole,
    });
    await recordEffects(tx, {
      at: arrivedAt,
      actor: activity.actor,
      action: `activity.${effect}`,
      object: activity.id,
      data: { type: activity.type },
    });
    return { value: receipt, lanes: lanes ?? [] };
  });
}

/** The receipt of an activity that was accepted before. @throws {Problem} `content_conflict` */
async function findStored(tx: Tx, id: string, digest: string): Promise<string | null> {
  const [row] = await tx
    .select({ digest: receivedActivities.digest, receipt: receivedActivities.receipt })
    .from(receivedActivities)
    .where(eq(receivedActivities.id, id));
  if (row && row.digest !== digest)
    throw new Problem("content_conflict", "An activity of that id came with other content.");
  return row?.receipt ?? null;
}

/** A stranger's Follow is stored as it came; nothing is fetched before the administrator opens it. */
async function keepFollow(
  dependencies: InboxDependencies,
  { origin, request, invitation }: StrangersFollow,
): Promise<void> {
  const { keyValue } = dependencies;
  const asked = await keyValue.increment(`follow:${request.address}`, 60_000);
  if (asked > followsPerMinute)
    throw new Problem("rate_limited", "Too many requests to become a peer.", { retry_after: 60 });
  await commitChange(dependencies, async (tx) => {
    const { method, target, headers, body, address, arrivedAt } = request;
    const invitationHash = invitation === null ? null : hashToken(invitation);
    await storeFollow(tx, system, { origin, method, target, headers, body, address, invitationHash, arrivedAt });
    return { value: undefined, lanes: [] };
  });
  if (invitation !== null) dependencies.admitInvited();
}

/** What a peer did and was refused: one entry each. */
async function journalRefusal(
  { database }: InboxDependencies,
  { request, activity }: ReadRequest,
  problem: Problem,
): Promise<void> {
  await recordRefusal(database.db, problem.code, {
    at: request.arrivedAt,
    action: "activity.refused",
    actor: activity.actor,
    object: activity.id,
    address: request.address,
  });
}

/**
 * A refusal of which nobody knows who sent it: the journal names no actor, but the origin that was claimed. Those that
 * claim to be a peer leave an entry each, as far as one address may go in a minute; all others are counted.
 */
async function journalUnproved(
  { database, keyValue }: InboxDependencies,
  { request, signature }: ReadRequest,
  problem: Problem,
): Promise<void> {
  const { address, arrivedAt: at } = request;
  const claimed = claimedOrigin(signature);
  const entry = { at, action: "activity.refused", actor: null, address, data: { claimed } };
  const peer = claimed === null ? undefined : await findPeer(database.db, claimed);
  const claimsPeer = peer?.state === "approved" || peer?.state === "pending_out";
  if (claimsPeer && (await keyValue.increment(`refused:${address}`, 60_000)) <= unprovedPerMinute) {
    await recordRefusal(database.db, problem.code, entry);
  } else {
    await countRefusal(database.db, problem.code, address, entry);
  }
}
