/**
 * Group commit: activities that arrive together share one transaction, and so one flush of the disk and few statements.
 * Each has its own outcome, receipt and journal rows. Where the shared transaction fails, each goes alone.
 */
import { sql } from "drizzle-orm";
import { signReceipt } from "../crypto/receipts.ts";
import { Problem } from "../errors.ts";
import type { NodeKeys } from "../identity/node-keys.ts";
import type { OutboxDependencies } from "../outbox/commit.ts";
import { limits } from "../protocol/limits.ts";
import { recordEffects } from "../registry/journal.ts";
import { isLostRace, isUnavailable, isUniqueViolation, type Tx } from "../storage/database.ts";
import { insertRows } from "../storage/insert-rows.ts";
import { receivedActivities } from "../storage/schema.ts";
import { createGathering } from "./gather.ts";
import { applyActivity, type Effect } from "./handlers.ts";
import type { VerifiedActivity } from "./verify.ts";

export interface GroupCommitDependencies
  extends Pick<OutboxDependencies, "database" | "origin" | "wake" | "numberJournal"> {
  readonly keys: NodeKeys;
}

/** An activity to be stored. */
export interface Incoming {
  readonly verified: VerifiedActivity;
  readonly digest: string;
  readonly arrivedAt: Date;
  /** Its size as it came. */
  readonly octets: number;
}

/** Stores one activity and gives its receipt: the effect once, the same receipt every time. @throws {Problem} */
export type CommitActivity = (incoming: Incoming) => Promise<string>;

/** How many share a transaction: few enough that what one of them locks is free again soon. */
const mostTogether = 64;
/** What an activity that waits to be stored costs besides its text, octets. */
const costOfOne = 16 * 1024;

export function createGroupCommit(dependencies: GroupCommitDependencies): CommitActivity {
  return createGathering<Incoming, string>({
    run: (group) => commitGroup(dependencies, group),
    most: mostTogether,
    bound: { weighs: ({ octets }) => octets + costOfOne, greatest: limits.heldOctets },
  });
}

/** Gives the receipt of each; those that go alone follow, while the next group does not wait for them. */
async function commitGroup(
  dependencies: GroupCommitDependencies,
  group: readonly Incoming[],
): Promise<readonly (string | Promise<string>)[]> {
  const outcomes = await commitOrNone(dependencies, firstOfEach(group));
  const lastOf = new Map<string, Promise<unknown>>();
  return group.map((incoming) => {
    const outcome = outcomes.get(incoming);
    if (outcome) return outcome.status === "fulfilled" ? outcome.value : Promise.reject(outcome.reason);
    // In their order where they are about the same: edits may build on each other.
    const { targetId, objectId, id } = incoming.verified.activity;
    const subject = targetId ?? objectId ?? id;
    const alone = (lastOf.get(subject) ?? Promise.resolve()).then(() => commitAlone(dependencies, incoming));
    lastOf.set(
      subject,
      alone.catch(() => {}),
    );
    return alone;
  });
}

/** Without those that came twice: the second finds the first one's row. */
function firstOfEach(group: readonly Incoming[]): readonly Incoming[] {
  return [...new Map(group.toReversed().map((one) => [one.verified.activity.id, one])).values()].toReversed();
}

type Outcomes = ReadonlyMap<Incoming, PromiseSettledResult<string>>;

/** No outcomes where one of them failed the transaction, or waits for what somebody else changes. */
async function commitOrNone(dependencies: GroupCommitDependencies, group: readonly Incoming[]): Promise<Outcomes> {
  if (group.length === 1) return new Map();
  try {
    return await commitTogether(dependencies, group);
  } catch (error) {
    if (isUnavailable(error) && !isLostRace(error)) throw error;
    return new Map();
  }
}

async function commitAlone(dependencies: GroupCommitDependencies, incoming: Incoming): Promise<string> {
  const commit = async () => {
    const outcome = (await commitTogether(dependencies, [incoming])).get(incoming);
    if (outcome?.status !== "fulfilled") throw outcome?.reason;
    return outcome.value;
  };
  try {
    return await commit();
  } catch (error) {
    if (!isUniqueViolation(error) && !isLostRace(error)) throw error;
    // The same activity was being received at the same time: the other one's row is there now.
    return await commit();
  }
}

/** One transaction. @throws what fails it as a whole, the refusal of one that is alone too; nothing is stored then */
async function commitTogether(dependencies: GroupCommitDependencies, group: readonly Incoming[]): Promise<Outcomes> {
  const { database, wake, numberJournal } = dependencies;
  const isShared = group.length > 1;
  const { outcomes, accepted } = await database.transaction(async (tx) => {
    if (isShared && group.some(changesSomething)) await tx.execute(sql`set local lock_timeout = '200ms'`);
    const stored = await readStored(tx, group);
    const outcomes = new Map<Incoming, PromiseSettledResult<string>>();
    const accepted: Accepted[] = [];
    for (const incoming of group) {
      try {
        const before = stored.get(incoming.verified.activity.id);
        if (before) outcomes.set(incoming, { status: "fulfilled", value: repeatReceipt(before, incoming) });
        else accepted.push({ incoming, effect: await apply(tx, dependencies, incoming, isShared) });
      } catch (error) {
        if (!(error instanceof Problem) || !isShared) throw error;
        outcomes.set(incoming, { status: "rejected", reason: error });
      }
    }
    const receipts = await Promise.all(accepted.map((one) => sign(dependencies, one)));
    await store(tx, accepted, receipts);
    for (const [at, value] of receipts.entries()) {
      outcomes.set((accepted[at] as Accepted).incoming, { status: "fulfilled", value });
    }
    return { outcomes, accepted };
  });
  for (const lane of new Set(accepted.flatMap(({ effect }) => effect.lanes ?? []))) wake(lane);
  numberJournal();
  return outcomes;
}

interface Accepted {
  readonly incoming: Incoming;
  readonly effect: Effect;
}

/** The effect; beside others within a savepoint, so that a refusal takes back what it had changed and nothing more. */
async function apply(
  tx: Tx,
  { origin, keys }: GroupCommitDependencies,
  incoming: Incoming,
  isShared: boolean,
): Promise<Effect> {
  const { verified, arrivedAt } = incoming;
  const run = (within: Tx) => applyActivity(within, { origin, keys, now: arrivedAt }, verified);
  return isShared && changesSomething(incoming) ? await tx.transaction(run) : await run(tx);
}

/** Does it touch more than its own rows: what others may have locked, what a refusal would have to take back? */
const changesSomething = ({ verified }: Incoming) => verified.intent.kind !== "unhandled";

interface Stored {
  readonly digest: string;
  readonly receipt: string;
}

/** What was accepted before, by id. */
async function readStored(tx: Tx, group: readonly Incoming[]): Promise<ReadonlyMap<string, Stored>> {
  const ids = group.map(({ verified }) => verified.activity.id);
  const { id, digest, receipt } = receivedActivities;
  const rows = await tx
    .select({ id, digest, receipt })
    .from(receivedActivities)
    .where(sql`${id} = any(${sql.param(ids)}::text[])`);
  return new Map(rows.map((row) => [row.id, row]));
}

/** @throws {Problem} `content_conflict` */
function repeatReceipt(stored: Stored, { digest }: Incoming): string {
  if (stored.digest === digest) return stored.receipt;
  throw new Problem("content_conflict", "An activity of that id came with other content.");
}

function sign({ origin, keys }: GroupCommitDependencies, { incoming, effect }: Accepted): Promise<string> {
  const { verified, digest, arrivedAt } = incoming;
  return signReceipt(
    {
      iss: origin,
      to: verified.peer.origin,
      activity: verified.activity.id,
      digest,
      received: arrivedAt.toISOString(),
      effect: effect.effect,
      ...(effect.effect === "stale" && effect.revision !== undefined ? { revision: effect.revision } : {}),
    },
    keys.ed25519,
  );
}

/** What they were, their receipts, and that they came. */
async function store(tx: Tx, accepted: readonly Accepted[], receipts: readonly string[]): Promise<void> {
  await insertRows(
    tx,
    receivedActivities,
    accepted.map(({ incoming: { verified, digest, arrivedAt }, effect: { effect, recipients } }, at) => ({
      id: verified.activity.id,
      digest,
      origin: verified.peer.origin,
      actor: verified.activity.actor,
      type: verified.activity.type,
      objectUri: verified.activity.objectId,
      recipients: [...(recipients ?? [])],
      effect,
      receipt: receipts[at] as string,
      receivedAt: arrivedAt,
      body: verified.activity.whole,
    })),
  );
  await recordEffects(
    tx,
    ...accepted.map(({ incoming: { verified, arrivedAt }, effect: { effect } }) => ({
      at: arrivedAt,
      actor: verified.activity.actor,
      action: `activity.${effect}`,
      object: verified.activity.id,
      data: { type: verified.activity.type },
    })),
  );
}
