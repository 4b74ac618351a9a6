/** The inbox: verify, then one transaction with the effect, its journal rows and the signed receipt. */
import { eq } from "drizzle-orm";
import { signReceipt } from "../crypto/receipts.ts";
import { Problem } from "../errors.ts";
import type { NodeKeys } from "../identity/node-keys.ts";
import { makeLaneDue } from "../outbox/lanes.ts";
import { commitChange, type OutboxDependencies } from "../outbox/submit.ts";
import { digestJson } from "../protocol/canonical-json.ts";
import { system } from "../registry/caller.ts";
import { hashToken } from "../registry/invitations.ts";
import { countRefusal, recordEffects, recordRefusal } from "../registry/journal.ts";
import { findPeer, storeFollow } from "../registry/peers.ts";
import { isUniqueViolation, type Tx } from "../storage/database.ts";
import type { KeyValue } from "../storage/key-value.ts";
import { receivedActivities } from "../storage/schema.ts";
import { applyActivity } from "./handlers.ts";
import {
  claimedOrigin,
  type InboxRequest,
  type ReadRequest,
  readRequest,
  type StrangersFollow,
  type VerifiedActivity,
  verifyActivity,
} from "./verify.ts";

export interface InboxDependencies extends OutboxDependencies {
  readonly keys: NodeKeys;
  readonly keyValue: KeyValue;
  readonly clockSkewSeconds: number;
  /** Says that somebody came with an invitation; called after the commit. */
  readonly admitInvited: () => void;
}

/** Body of the 202: the receipt, or nothing for a stranger's Follow. */
export interface Accepted {
  readonly receipt?: string;
}

const followsPerMinute = 10;

/**
 * Takes one activity in. Everything is stored when this returns; when it throws, nothing has changed but the journal.
 * @throws {Problem} the refusals of docs/protocol.md, "Answers"
 */
export async function receiveActivity(dependencies: InboxDependencies, request: InboxRequest): Promise<Accepted> {
  const read = readRequest(request, dependencies.origin);
  try {
    const result = await verifyActivity(dependencies, read);
    if (result.from === "stranger") return await keepFollow(dependencies, result.follow);
    return { receipt: await acceptOnce(dependencies, result.verified, request.arrivedAt) };
  } catch (error) {
    if (error instanceof Problem) await journalRefusal(dependencies, read, error);
    throw error;
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
    const wasWaiting = await makeLaneDue(tx, peer.id);
    const woken = wasWaiting ? [peer.id] : [];
    const stored = await findStored(tx, activity.id, digest);
    if (stored !== null) return { value: stored, lanes: woken };

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
    return { value: receipt, lanes: [...woken, ...(lanes ?? [])] };
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
): Promise<Accepted> {
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
  return {};
}

/** From the signature check on every refusal leaves one entry; those of strangers are counted by the minute. */
async function journalRefusal(
  dependencies: InboxDependencies,
  { request, activity, signature }: ReadRequest,
  problem: Problem,
): Promise<void> {
  const { database } = dependencies;
  const claimed = claimedOrigin(signature);
  const peer = claimed === null ? undefined : await findPeer(database.db, claimed);
  const entry = { at: request.arrivedAt, action: "activity.refused" };
  if (peer?.state === "approved" || peer?.state === "pending_out") {
    const { actor, id: object } = activity;
    await recordRefusal(database.db, problem.code, { ...entry, actor, object, address: request.address });
  } else {
    await countRefusal(database.db, problem.code, request.address, { ...entry, actor: claimed });
  }
}
