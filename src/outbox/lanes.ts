/**
 * Lanes: one per peer, drained by one worker at a time, oldest due first. Rows are the truth; whoever wakes a lane only
 * says that now is a good moment to look.
 */
import { randomUUID } from "node:crypto";
import { and, asc, eq, gt, inArray, isNotNull, isNull, lte, or, sql } from "drizzle-orm";
import type { JsonObject } from "../protocol/objects.ts";
import { administrators, recordEffects } from "../registry/journal.ts";
import { type PeerRow, sendingStates } from "../registry/peers.ts";
import type { Database, Tx } from "../storage/database.ts";
import { activities, type DeliveryError, deliveries, lanes, objects, peers } from "../storage/schema.ts";
import {
  type DeliverDependencies,
  type DeliveryFailure,
  deliverActivity,
  longestWait,
  type Outcome,
} from "./deliver.ts";

export interface LaneDependencies extends DeliverDependencies {
  readonly database: Database;
  readonly wake: (lane: string, at?: Date) => void;
  /** Back-off: `min(cap, base · 2ⁿ)` with full jitter, milliseconds. */
  readonly retry: { readonly base: number; readonly cap: number };
  readonly random: () => number;
  /** Told what became of an attempt once that is written down. */
  readonly onOutcome: (kind: Outcome["kind"]) => void;
}

/** How long a claim holds without renewal: how soon a lane is taken over whose worker was killed. */
const leaseMilliseconds = 6_000;
const renewalMilliseconds = 2_000;
/** So many different activities failing in a row speak of the peer. */
const failuresOfPeer = 3;

interface Due {
  readonly peer: PeerRow;
  readonly delivery: typeof deliveries.$inferSelect;
  readonly activity: typeof activities.$inferSelect;
}

/** Sends what is due to one peer, until nothing is, the peer fails, the node stops, or somebody else holds the lane. */
export async function drainLane(dependencies: LaneDependencies, peerId: string): Promise<void> {
  const { database, clock, stopping } = dependencies;
  const worker = randomUUID();
  if (!(await claimLane(database, peerId, worker, clock()))) return;
  const renewal = renewNowAndThen(dependencies, peerId, worker);
  try {
    const failed = new Set<string>();
    while (!stopping.aborted) {
      const due = await findDue(database.db, peerId, clock());
      if (!due) break;
      const outcome = speakOfPeer(await attempt(dependencies, due), due, failed);
      const held = await recordOutcome(dependencies, { due, outcome, worker });
      dependencies.onOutcome(outcome.kind);
      if (!held || outcome.kind === "peer") break;
    }
  } catch (error) {
    // A request that was given up because the node stops is neither a success nor a failure.
    if (!stopping.aborted) throw error;
  } finally {
    clearInterval(renewal);
    await releaseLane(database, peerId, worker);
  }
  // Not after an error: what could not be written back must not be sent again and again. The sweeper comes by.
  await wakeAgain(dependencies, peerId);
}

/** Holds a lane while a request takes its time. A renewal that fails is made up for by the next one, or by an outcome. */
function renewNowAndThen({ database, clock }: LaneDependencies, peerId: string, worker: string): NodeJS.Timeout {
  return setInterval(() => {
    const lockedUntil = new Date(clock().getTime() + leaseMilliseconds);
    void database.db
      .update(lanes)
      .set({ lockedUntil })
      .where(and(eq(lanes.peerId, peerId), eq(lanes.lockedBy, worker)))
      .then(
        () => {},
        () => {},
      );
  }, renewalMilliseconds);
}

/** What may speak of one activity speaks of the peer when three different ones fail in a row. */
function speakOfPeer(outcome: Outcome, { delivery }: Due, failed: Set<string>): Outcome {
  if (outcome.kind !== "activity") {
    failed.clear();
    return outcome;
  }
  failed.add(delivery.id);
  return failed.size < failuresOfPeer ? outcome : { kind: "peer", failure: outcome.failure };
}

/** Takes the lane when it is due and nobody holds it; false otherwise. */
async function claimLane(database: Database, peerId: string, worker: string, now: Date): Promise<boolean> {
  return await database.transaction(async (tx) => {
    const [peer] = await tx.select({ id: peers.id }).from(peers).where(eq(peers.id, peerId));
    if (!peer) return false;
    await tx.insert(lanes).values({ peerId }).onConflictDoNothing();
    const lockedUntil = new Date(now.getTime() + leaseMilliseconds);
    const claimed = await tx
      .update(lanes)
      .set({ lockedBy: worker, lockedUntil })
      .where(
        and(
          eq(lanes.peerId, peerId),
          or(isNull(lanes.lockedUntil), lte(lanes.lockedUntil, now)),
          or(isNull(lanes.nextAttemptAt), lte(lanes.nextAttemptAt, now)),
        ),
      )
      .returning({ peerId: lanes.peerId });
    return claimed.length > 0;
  });
}

/** The next activity, with the peer as it is now: while a lane is drained it may rotate its keys, or be suspended. */
async function findDue(tx: Tx, peerId: string, now: Date): Promise<Due | undefined> {
  const [due] = await tx
    .select({ delivery: deliveries, activity: activities, peer: peers })
    .from(deliveries)
    .innerJoin(activities, eq(activities.id, deliveries.activityId))
    .innerJoin(peers, eq(peers.id, deliveries.peerId))
    .where(
      and(
        eq(deliveries.peerId, peerId),
        inArray(peers.state, [...sendingStates]),
        eq(deliveries.state, "queued"),
        // What was never tried is due whatever its time: the clock may have been ahead when it was written.
        or(eq(deliveries.attempts, 0), lte(deliveries.nextAttemptAt, now)),
      ),
    )
    .orderBy(asc(deliveries.seq))
    .limit(1);
  return due;
}

async function attempt(dependencies: LaneDependencies, { peer, delivery, activity }: Due): Promise<Outcome> {
  const body = activity.body as JsonObject;
  const outcome = await deliverActivity(dependencies, { body, inbox: delivery.inbox, peer });
  if (outcome.kind !== "delivered" || outcome.effect !== "stale") return outcome;
  // The peer holds something newer than our newest: we have lost history, and this is an alarm, not a delivery.
  const lost = await isNewest(dependencies.database.db, activity);
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

/** Writes the outcome back; false when the lane was taken over meanwhile, so that this worker stops. */
async function recordOutcome(
  dependencies: LaneDependencies,
  sent: { readonly due: Due; readonly outcome: Outcome; readonly worker: string },
): Promise<boolean> {
  const { due, outcome, worker } = sent;
  const { peer } = due;
  const now = dependencies.clock();
  const attempts = due.delivery.attempts + 1;
  return await dependencies.database.transaction(async (tx) => {
    const lease = new Date(now.getTime() + leaseMilliseconds);
    // A peer that judges what it is sent is well, whatever it says of it.
    const isWell = outcome.kind === "delivered" || outcome.kind === "dead";
    const progress = isWell ? { failures: 0, nextAttemptAt: null, lastError: null } : {};
    const held = await tx
      .update(lanes)
      .set({ lockedUntil: lease, ...progress })
      .where(and(eq(lanes.peerId, peer.id), eq(lanes.lockedBy, worker)))
      .returning({ peerId: lanes.peerId });
    await tx
      .update(deliveries)
      .set({ attempts, ...changeOf(dependencies, outcome, attempts, now) })
      .where(and(eq(deliveries.id, due.delivery.id), eq(deliveries.state, "queued")));
    if (outcome.form) await tx.update(peers).set({ signatureForm: outcome.form }).where(eq(peers.id, peer.id));
    if (outcome.kind === "peer" && held.length > 0) await failLane(tx, dependencies, peer.id, outcome.failure);
    if (outcome.kind === "dead") {
      await recordEffects(tx, {
        at: now,
        actor: "node",
        action: "delivery.dead",
        object: due.delivery.activityId,
        data: { peer: peer.origin, code: outcome.failure.code },
        audience: [administrators, due.activity.actor],
      });
    }
    return held.length > 0;
  });
}

function changeOf(dependencies: LaneDependencies, outcome: Outcome, attempts: number, now: Date) {
  if (outcome.kind === "delivered") {
    const { receipt, effect } = outcome;
    return { state: "delivered" as const, receipt, effect, lastError: null, deliveredAt: now };
  }
  const lastError = errorOf(outcome.failure, now);
  if (outcome.kind === "dead") return { state: "dead" as const, lastError };
  // A failure of the peer leaves the delivery's own time alone: the lane waits, and its order is kept.
  if (outcome.kind === "peer") return { lastError };
  return { lastError, nextAttemptAt: backOff(dependencies, attempts, outcome.failure, now) };
}

const errorOf = ({ status, code }: DeliveryFailure, now: Date): DeliveryError => ({
  status,
  code,
  at: now.toISOString(),
});

function backOff({ retry, random }: LaneDependencies, failures: number, failure: DeliveryFailure, now: Date): Date {
  const ceiling = Math.min(retry.cap, retry.base * 2 ** Math.min(failures, 40));
  return new Date(now.getTime() + Math.max(failure.retryAfter ?? 0, Math.round(ceiling * random())));
}

async function failLane(
  tx: Tx,
  dependencies: LaneDependencies,
  peerId: string,
  failure: DeliveryFailure,
): Promise<void> {
  const now = dependencies.clock();
  const [lane] = await tx.select({ failures: lanes.failures }).from(lanes).where(eq(lanes.peerId, peerId));
  const failures = (lane?.failures ?? 0) + 1;
  const nextAttemptAt = backOff(dependencies, failures, failure, now);
  await tx
    .update(lanes)
    .set({ failures, nextAttemptAt, lastError: errorOf(failure, now) })
    .where(eq(lanes.peerId, peerId));
}

async function releaseLane(database: Database, peerId: string, worker: string): Promise<void> {
  await database.db
    .update(lanes)
    .set({ lockedBy: null, lockedUntil: null })
    .where(and(eq(lanes.peerId, peerId), eq(lanes.lockedBy, worker)));
}

/**
 * Gives up the claims of a process that was killed, which would hold its lanes until they run out. Only for a process
 * that serves its database alone: claims of others would be given up as well.
 */
export async function releaseLanes({ db }: Database): Promise<void> {
  await db.update(lanes).set({ lockedBy: null, lockedUntil: null }).where(isNotNull(lanes.lockedBy));
}

/** When each peer's lane is next worth looking at. */
async function nextTimes(tx: Tx, peerId?: string): Promise<readonly { readonly lane: string; readonly at: Date }[]> {
  const rows = await tx
    .select({
      lane: deliveries.peerId,
      // The first due delivery, but not before the lane's back-off is over or its holder's lease has run out.
      at: sql<string>`greatest(
        min(case when ${deliveries.attempts} = 0 then to_timestamp(0) else ${deliveries.nextAttemptAt} end),
        max(${lanes.nextAttemptAt}), max(${lanes.lockedUntil}))`,
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

async function wakeAgain({ database, wake }: LaneDependencies, peerId: string): Promise<void> {
  for (const { lane, at } of await nextTimes(database.db, peerId)) wake(lane, at);
}

/** Wakes every lane that has something to send, at its time: after a restart, and now and then, nothing is forgotten. */
export async function sweepLanes({
  database,
  wake,
  clock,
}: Pick<LaneDependencies, "database" | "wake" | "clock">): Promise<void> {
  await cutTimesBack(database.db, clock());
  for (const { lane, at } of await nextTimes(database.db)) wake(lane, at);
}

/** Times further off than any wait were written while the clock was ahead: they are cut back to now. */
async function cutTimesBack(tx: Tx, now: Date): Promise<void> {
  const furthest = new Date(now.getTime() + longestWait);
  await tx
    .update(deliveries)
    .set({ nextAttemptAt: now })
    .where(and(eq(deliveries.state, "queued"), gt(deliveries.nextAttemptAt, furthest)));
  await tx.update(lanes).set({ nextAttemptAt: now }).where(gt(lanes.nextAttemptAt, furthest));
  const lease = new Date(now.getTime() + leaseMilliseconds);
  await tx.update(lanes).set({ lockedBy: null, lockedUntil: null }).where(gt(lanes.lockedUntil, lease));
}

/** The peer has just talked to us: its lane is due at once. Returns whether it had been backing off. */
export async function makeLaneDue(tx: Tx, peerId: string): Promise<boolean> {
  const rows = await tx
    .update(lanes)
    .set({ failures: 0, nextAttemptAt: null })
    .where(and(eq(lanes.peerId, peerId), sql`${lanes.failures} > 0`))
    .returning({ peerId: lanes.peerId });
  return rows.length > 0;
}
