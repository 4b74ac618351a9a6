/** Refusals of requests of which nobody knows who sent them: the signature proves nothing yet. */
import { isRefusal, type Problem } from "../errors.ts";
import { countRefusal, recordRefusal } from "../registry/journal.ts";
import type { Database } from "../storage/database.ts";
import type { KeyValue } from "../storage/key-value.ts";
import type { ReadPeer } from "./peer-reader.ts";
import { claimedOrigin, type InboxRequest, type ReadSignature } from "./verify.ts";

export interface UnprovedRequest {
  readonly request: InboxRequest;
  readonly signature: ReadSignature;
}

interface UnprovedDependencies {
  readonly database: Database;
  readonly keyValue: KeyValue;
  readonly readPeer: ReadPeer;
}

/** Refusals in a peer's name, but without its signature, that one address is given entries for. */
const unprovedPerMinute = 100;

/** Finds out who sent a request; what is refused until then is nobody's, and is journaled as such. */
export async function journalUnproved<T>(
  dependencies: UnprovedDependencies,
  unproved: UnprovedRequest,
  identify: () => Promise<T>,
): Promise<T> {
  try {
    return await identify();
  } catch (error) {
    if (isRefusal(error)) await recordUnproved(dependencies, unproved, error);
    throw error;
  }
}

/**
 * The journal names no actor, but the origin that was claimed. Requests that claim to be a peer's leave an entry each,
 * as far as one address may go in a minute; all others are counted.
 */
async function recordUnproved(
  { database, keyValue, readPeer }: UnprovedDependencies,
  { request, signature }: UnprovedRequest,
  problem: Problem,
): Promise<void> {
  const { address, arrivedAt: at } = request;
  const claimed = claimedOrigin(signature);
  const entry = { at, action: "activity.refused", actor: null, address, data: { claimed } };
  const peer = claimed === null ? undefined : await readPeer(claimed);
  const claimsPeer = peer?.state === "approved" || peer?.state === "pending_out";
  if (claimsPeer && (await keyValue.increment(`refused:${address}`, 60_000)) <= unprovedPerMinute) {
    await recordRefusal(database.db, problem.code, entry);
  } else {
    await countRefusal(database.db, problem.code, address, entry);
  }
}
