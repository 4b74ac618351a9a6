/**
 * Lanes: one per peer, drained by one worker at a time, oldest due first. Rows are the truth; whoever wakes a lane only
 * says that now is a good moment to look.
 */
import { randomUUID } from "node:crypto";
import { and, eq, gt, inArray, or, sql } from "drizzle-orm";
import type { JsonObject } from "../protocol/objects.ts";
import { instantOf, nextAttemptAt } from "../registry/next-attempts.ts";
import { sendingStates } from "../registry/peer-states.ts";
import type { Database, Tx } from "../storage/database.ts";
import { type activities, deliveries, lanes, objects, peers } from "../storage/schema.ts";
import { type DeliverDependencies, deliverActivity, deliverBatch } from "./deliver.ts";
import { type Due, findDue } from "./due.ts";
import { endLease, endStrangeLeases, leaseLeft, renewLease, takeLease } from "./leases.ts";
import { longestWait, type Outcome } from "./outcome.ts";
import { type Attempted, type WriteBackDependencies, writeOutcomes } from "./written-outcomes.ts";

export interface LaneDependencies extends DeliverDependencies, WriteBackDependencies {
  readonly wake: (lane: string, at?: Date) => void;
  /** Has a lane drained here, whatever became of its wakes. */
  readonly insist: (lane: string) => void;
  /** Told what became of an attempt once that is written down. */
  readonly onOutcome: (kind: Outcome["kind"]) => void;
}

/** How often a lease is renewed while a request takes its time: it outlives a few that fail. */
const renewalMilliseconds = 1_000;
/** So many different activities failing in a row speak of the peer. */
const failuresOfPeer = 3;

/** Sends what is due to one peer, until nothing is, the peer fails, the node stops, or somebody else holds the lane. */
export async function drainLane(dependencies: LaneDependencies, peerId: string): Promise<void> {
  const { database, clock, stopping } = dependencies;
  const worker = randomUUID();
  const claimed = await claimLane(database, peerId, worker, clock());
  if (claimed === null) return;
  const renewal = renewNowAndThen(dependencies, peerId, worker);
  try {
    const failed = new Set<string>();
    let together = claimed.batchInbox !== null;
    let ahead: readonly Due[] = [];
    while (!stopping.aborted) {
      if (ahead.length === 0) ahead = await findDue(database.db, { peerId, now: clock() });
      if (ahead.length === 0) break;
      const due = together ? ahead : ahead.slice(0, 1);
      const outcomes = await attempt(dependencies, due);
      if (outcomes === null) {
        // Each alone, for this time: it takes no batches after all, or chokes on one activity, which is to be found.
        together = false;
        // Found before a request that may have taken long: looked for again.
        ahead = [];
        continue;
      }
      const attempted = outcomes.map((outcome, at) => speakOfPeer({ outcome, due: due[at] as Due }, failed));
      const still = await writeOutcomes(dependencies, { peerId, worker, attempted, ahead: ahead.slice(due.length) });
      for (const { outcome } of attempted) dependencies.onOutcome(outcome.kind);
      if (still === null || attempted.some(({ outcome }) => outcome.kind === "peer")) break;
      ahead = still;
    }
  } catch (error) {
    // A request that was given up because the node stops is neither a success nor a failure.
    if (!stopping.aborted) throw error;
  } finally {
    clearInterval(renewal);
    await endLease(database.db, { peerId, worker });
  }
  // Not after an error: what could not be written back must not be sent again and again. The sweeper comes by.
  await wakeAgain(dependencies, peerId);
}

/** Holds a lane while a request takes its time. A renewal that fails is made up for by the next one, or by an outcome. */
function renewNowAndThen({ database }: LaneDependencies, peerId: string, worker: string): NodeJS.Timeout {
  return setInterval(() => void renewLease(database.db, { peerId, worker }).catch(() => {}), renewalMilliseconds);
}

/** What may speak of one activity speaks of the peer when three different ones fail in a row. */
function speakOfPeer({ due, outcome }: Attempted, failed: Set<string>): Attempted {
  if (outcome.kind !== "activity") {
    failed.clear();
    return { due, outcome };
  }
  failed.add(due.delivery.id);
  return { due, outcome: failed.size < failuresOfPeer ? outcome : { kind: "peer", failure: outcome.failure } };
}

/** Takes the lane when it is due and nobody holds it; null otherwise. */
async function claimLane(
  { db }: Database,
  peerId: string,
  worker: string,
  now: Date,
): Promise<{ readonly batchInbox: string | null } | null> {
  const [peer] = await db.select({ batchInbox: peers.batchInbox }).from(peers).where(eq(peers.id, peerId));
  return peer && (await takeLease(db, { peerId, worker, now })) ? peer : null;
}

/**
 * One request, with all of `due` where there are several. Null when it was several, and nothing was said of any of them.
 */
async function attempt(dependencies: LaneDependencies, due: readonly Due[]): Promise<readonly Outcome[] | null> {
  const [first] = due;
  if (!first) return [];
  const { peer, delivery } = first;
  const bodies = due.map(({ activity }) => activity.body as JsonObject);
  const outcomes =
    due.length > 1 && peer.batchInbox !== null
      ? await deliverBatch(dependencies, { bodies, url: peer.batchInbox, peer })
      : [await deliverActivity(dependencies, { body: first.activity.body as JsonObject, inbox: delivery.inbox, peer })];
  if (outcomes === null) return null;
  return await Promise.all(outcomes.map((outcome, at) => alarmIfLost(dependencies, outcome, due[at])));
}

/** A peer that holds something newer than our newest: we have lost history, and this is an alarm, not a delivery. */
async function alarmIfLost({ database }: LaneDependencies, outcome: Outcome, due: Due | undefined): Promise<Outcome> {
  if (!due || outcome.kind !== "delivered" || outcome.effect !== "stale") return outcome;
  const lost = await isNewest(database.db, due.activity);
  return lost ? { kind: "dead", failure: { status: 202, code: "receipt_stale" } } : outcome;
}

async function isNewest(tx: Tx, activity: typeof activities.$inferSelect): Promise<boolean> {
  if (activity.objectUri === null || activity.revision === null) return false;
  const [row] = await tx
    .select({ revision: objects.revision, deletedAt: objects.deletedAt })
    .from(objects)
    .where(and(eq(objects.uri, activity.objectUri), eq(objects.local, true)));
  return row?.revision === activity.revision && row.deletedAt === null;
}

/** When each peer's lane is next worth looking at, by the clock that says `now`. */
async function nextTimes(
  tx: Tx,
  now: Date,
  peerId?: string,
): Promise<readonly { readonly lane: string; readonly at: Date }[]> {
  const at = instantOf(now);
  const rows = await tx
    .select({
      lane: deliveries.peerId,
      // The first delivery, but not before the lease of the lane's holder has run out.
      at: sql<string>`greatest(min(${nextAttemptAt(at)}), ${at} + max(${leaseLeft}))`,
    })
    .from(deliveries)
    .innerJoin(peers, eq(peers.id, deliveries.peerId))
    .leftJoin(lanes, eq(lanes.peerId, deliveries.peerId))
    .where(
      and(
        eq(deliveries.state, "queued"),
        peerId === undefined ? undefined : eq(deliveries.peerId, peerId),
        inArray(peers.state, [...sendingStates]),
      ),
    )
    .groupBy(deliveries.peerId);
  return rows.map(({ lane, at }) => ({ lane, at: new Date(at) }));
}

async function wakeAgain({ database, wake, clock }: LaneDependencies, peerId: string): Promise<void> {
  for (const { lane, at } of await nextTimes(database.db, clock(), peerId)) wake(lane, at);
}

/** What a wake may take to lead to a drain, milliseconds: nobody holds a lane that has been due for longer. */
const overdue = 1_000;

/** Wakes every lane that has something to send, at its time: after a restart, and now and then, nothing is forgotten. */
export async function sweepLanes({
  database,
  wake,
  insist,
  clock,
}: Pick<LaneDependencies, "database" | "wake" | "insist" | "clock">): Promise<void> {
  const now = clock();
  await cutTimesBack(database.db, now);
  await endStrangeLeases(database.db);
  for (const { lane, at } of await nextTimes(database.db, now)) {
    // Its wakes led to nothing: they are lost, not taken yet, or somebody keeps them from being heard. One too many finds
    // the lane held.
    if (now.getTime() - at.getTime() > overdue) insist(lane);
    else wake(lane, at);
  }
}

/** How far the clocks of several processes may differ, milliseconds. */
const difference = 60_000;

/**
 * Times that were written while the clock was ahead are cut back to now: those beyond what any peer may ask for, and
 * those whose failure lies ahead as well.
 */
async function cutTimesBack(tx: Tx, now: Date): Promise<void> {
  const later = (milliseconds: number) => new Date(now.getTime() + milliseconds);
  const isWrong = ({ nextAttemptAt, lastError }: typeof deliveries | typeof lanes) => {
    const failedAhead = sql`(${lastError} ->> 'at')::timestamptz > ${later(difference).toISOString()}::timestamptz`;
    return and(gt(nextAttemptAt, now), or(gt(nextAttemptAt, later(longestWait)), failedAhead));
  };
  await tx
    .update(deliveries)
    .set({ nextAttemptAt: now })
    .where(and(eq(deliveries.state, "queued"), isWrong(deliveries)));
  await tx.update(lanes).set({ nextAttemptAt: now }).where(isWrong(lanes));
}

/** These peers have just talked to us: their lanes are due at once. Gives those that had been backing off. */
export async function makeLanesDue(tx: Tx, peerIds: readonly string[]): Promise<readonly string[]> {
  const rows = await tx
    .update(lanes)
    .set({ failures: 0, nextAttemptAt: null })
    .where(and(inArray(lanes.peerId, [...peerIds]), gt(lanes.failures, 0)))
    .returning({ peerId: lanes.peerId });
  return rows.map(({ peerId }) => peerId);
}
