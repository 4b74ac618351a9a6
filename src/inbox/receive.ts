/** The inbox: who sent it, then each activity by itself, whether it came alone or in a batch. */

import { Problem } from "../errors.ts";
import { createCommit } from "../outbox/commit.ts";
import { inPace } from "../pace.ts";
import { type BatchItem, splitBatch } from "../protocol/batches.ts";
import { limits } from "../protocol/limits.ts";
import { parseStrictJsonText } from "../protocol/strict-json.ts";
import { system } from "../registry/caller.ts";
import { hashToken } from "../registry/invitations.ts";
import { storeFollow } from "../registry/peers.ts";
import { parseSignature } from "../signatures/policy.ts";
import { acceptFrom, type InboxDependencies } from "./accept.ts";
import { journalUnproved } from "./unproved.ts";
import {
  type InboxRequest,
  identifyInstance,
  identifySender,
  type ReadActivity,
  readActivity,
  readRequest,
  requireHost,
  type StrangersFollow,
} from "./verify.ts";

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
  await inPace();
  const read = readRequest(request, dependencies.origin);
  const sender = await journalUnproved(dependencies, read, async () => {
    const found = await identifySender(dependencies, read);
    if (found.from === "stranger") await keepFollow(dependencies, found.follow);
    return found;
  });
  if (sender.from === "stranger") return {};
  // Whatever becomes of what it sends, the peer is there: what waits for it is due.
  dependencies.rouseLane(sender.peer.id);
  return {
    receipt: await acceptFrom(dependencies, sender, request, {
      id: read.activity.id,
      octets: request.body.length,
      read: () => read,
    }),
  };
}

/** What became of one activity of a batch: its receipt, or what it would have been refused with alone. */
export interface BatchResult {
  /** As the item claims it; null where it has none. */
  readonly id: string | null;
  readonly outcome: PromiseSettledResult<string>;
}

/**
 * Takes a batch in, each activity as if it had come alone; the results are in order.
 * @throws {Problem} what refuses the whole: `malformed_json`, `too_large`, and who may not send it
 */
export async function receiveBatch(
  dependencies: InboxDependencies,
  request: InboxRequest,
): Promise<readonly BatchResult[]> {
  await inPace();
  const items = splitBatch(request.body);
  const signature = parseSignature(request);
  requireHost(request, dependencies.origin);
  const sender = await journalUnproved(dependencies, { request, signature }, () =>
    identifyInstance(dependencies, request, signature),
  );
  // Whatever becomes of what it sends, the peer is there: what waits for it is due.
  dependencies.rouseLane(sender.peer.id);
  const receiving = items.map(({ id, text }) =>
    acceptFrom(dependencies, sender, request, { id, octets: text.length, read: () => readItem(text) }),
  );
  const outcomes = await Promise.allSettled(receiving);
  return items.map(({ id }, at) => ({ id, outcome: outcomes[at] as BatchResult["outcome"] }));
}

/** An item, by the rules for an activity that comes alone. */
function readItem(text: BatchItem["text"]): ReadActivity {
  if (Buffer.byteLength(text) > limits.peerActivityOctets) {
    throw new Problem("too_large", `An activity has at most ${limits.peerActivityOctets} octets.`);
  }
  return readActivity(parseStrictJsonText(text));
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
  const commit = createCommit(dependencies);
  await commit(async (tx) => {
    const { method, target, headers, body, address, arrivedAt } = request;
    const invitationHash = invitation === null ? null : hashToken(invitation);
    await storeFollow(tx, system, { origin, method, target, headers, body, address, invitationHash, arrivedAt });
    return { value: undefined, lanes: [] };
  });
  if (invitation !== null) dependencies.admitInvited();
}
