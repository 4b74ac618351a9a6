/** One activity of a peer that is known to have sent it: quota, rights, then its effect with journal rows and receipt. */
import { eq } from "drizzle-orm";
import { signReceipt } from "../crypto/receipts.ts";
import { Problem } from "../errors.ts";
import type { NodeKeys } from "../identity/node-keys.ts";
import { commitChange, type OutboxDependencies } from "../outbox/commit.ts";
import type { RefreshPeerKeys } from "../outbox/peer-keys.ts";
import { digestJson } from "../protocol/canonical-json.ts";
import { recordEffects, recordRefusal } from "../registry/journal.ts";
import type { PeerRow } from "../registry/peers.ts";
import { isUniqueViolation, type Tx } from "../storage/database.ts";
import type { KeyValue } from "../storage/key-value.ts";
import { receivedActivities } from "../storage/schema.ts";
import { applyActivity } from "./handlers.ts";
import {
  authoriseActivity,
  type InboxRequest,
  type PeerSender,
  type ReadActivity,
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

/** An activity that may still turn out to be unreadable: alone it was read before anybody asked who sent it. */
export interface SentActivity {
  /** As it claims; null where it has none. */
  readonly id: string | null;
  readonly read: () => ReadActivity;
}

/**
 * Accepts one activity and gives its receipt; a refusal leaves an entry in the journal, and nothing else.
 * @throws {Problem} the refusals of docs/protocol.md, "Answers", from the quota on
 */
export async function acceptFrom(
  dependencies: InboxDependencies,
  sender: PeerSender,
  { address, arrivedAt }: InboxRequest,
  { id, read }: SentActivity,
): Promise<string> {
  let actor = sender.signer;
  try {
    const sent = read();
    actor = sent.activity.actor;
    await chargeQuota(dependencies, sender.peer, arrivedAt);
    return await acceptOnce(dependencies, authoriseActivity(sent, sender), arrivedAt);
  } catch (error) {
    if (error instanceof Problem) {
      const entry = { at: arrivedAt, action: "activity.refused", actor, object: id, address };
      await recordRefusal(dependencies.database.db, error.code, entry);
    }
    throw error;
  }
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
