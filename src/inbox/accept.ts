/** One activity of a peer that is known to have sent it: quota, rights, then its effect with journal rows and receipt. */
import { isRefusal } from "../errors.ts";
import type { NodeKeys } from "../identity/node-keys.ts";
import type { OutboxDependencies } from "../outbox/commit.ts";
import { inPace } from "../pace.ts";
import { digestJson } from "../protocol/canonical-json.ts";
import { recordRefusal } from "../registry/journal.ts";
import type { RefreshPeerKeys } from "../registry/peer-pins.ts";
import type { KeyValue } from "../storage/key-value.ts";
import type { CommitActivity } from "./group-commit.ts";
import type { ReadPeer, RouseLane } from "./peer-reader.ts";
import type { ChargeQuota } from "./quotas.ts";
import { authoriseActivity, type InboxRequest, type PeerSender, type ReadActivity } from "./verify.ts";

export interface InboxDependencies extends OutboxDependencies {
  readonly keys: NodeKeys;
  readonly keyValue: KeyValue;
  readonly clockSkewSeconds: number;
  readonly refreshPeerKeys: RefreshPeerKeys;
  readonly readPeer: ReadPeer;
  readonly rouseLane: RouseLane;
  readonly chargeQuota: ChargeQuota;
  readonly commitActivity: CommitActivity;
  /** Says that somebody came with an invitation; called after the commit. */
  readonly admitInvited: () => void;
}

/** An activity that may still turn out to be unreadable: alone it was read before anybody asked who sent it. */
export interface SentActivity {
  /** As it claims; null where it has none. */
  readonly id: string | null;
  readonly octets: number;
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
  { id, octets, read }: SentActivity,
): Promise<string> {
  let actor = sender.signer;
  try {
    // Also what cannot be read counts: a refusal costs as much as an activity.
    await dependencies.chargeQuota(sender.peer, arrivedAt);
    await inPace();
    const sent = read();
    actor = sent.activity.actor;
    const verified = authoriseActivity(sent, sender);
    const digest = digestJson(verified.activity.whole);
    return await dependencies.commitActivity({ verified, digest, arrivedAt, octets });
  } catch (error) {
    if (isRefusal(error)) {
      const entry = { at: arrivedAt, action: "activity.refused", actor, object: id, address };
      await recordRefusal(dependencies.database.db, error.code, entry);
    }
    throw error;
  }
}
