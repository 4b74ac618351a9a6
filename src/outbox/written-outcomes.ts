/** Outcomes of deliveries, written back: what was delivered, what is dead, and who waits for how long. */
import { and, eq, sql } from "drizzle-orm";
import { administrators, recordEffects } from "../registry/journal.ts";
import type { Database, Tx } from "../storage/database.ts";
import { preparedOnce } from "../storage/prepared.ts";
import { type DeliveryError, deliveries, lanes, peers } from "../storage/schema.ts";
import { type Due, stillDue } from "./due.ts";
import { heldBy, leaseEnd, renewLease } from "./leases.ts";
import type { DeliveryFailure, Outcome } from "./outcome.ts";

export interface WriteBackDependencies {
  readonly database: Database;
  readonly clock: () => Date;
  /** Back-off: `min(cap, base · 2ⁿ)` with full jitter, milliseconds. */
  readonly retry: { readonly base: number; readonly cap: number };
  readonly random: () => number;
}

/** One delivery and what became of it. */
export interface Attempted {
  readonly due: Due;
  readonly outcome: Outcome;
}

interface Lease {
  readonly peerId: string;
  readonly worker: string;
}

/**
 * Writes outcomes of one peer back. Gives what of `ahead`, found before, may still go, as far as that is known without
 * looking again; null when the lane was taken over meanwhile, so that `worker` stops.
 */
export async function writeOutcomes(
  dependencies: WriteBackDependencies,
  {
    peerId,
    worker,
    attempted,
    ahead,
  }: Lease & { readonly attempted: readonly Attempted[]; readonly ahead: readonly Due[] },
): Promise<readonly Due[] | null> {
  const now = dependencies.clock();
  const { db } = dependencies.database;
  const delivered = attempted.flatMap(deliveredRow);
  const form = attempted.find(({ outcome }) => outcome.form)?.outcome.form;
  if (delivered.length === attempted.length && form === undefined) {
    return await writeDelivered(db, { peerId, worker, delivered, ahead }, now);
  }
  return await dependencies.database.transaction(async (tx) => {
    // A peer that judges what it is sent is well, whatever it says of it.
    const isWell = attempted.some(({ outcome }) => outcome.kind === "delivered" || outcome.kind === "dead");
    // What was found before knows nothing of a form that the peer takes from now on.
    const known = form === undefined ? ahead : [];
    const still = isWell
      ? await writeDelivered(tx, { peerId, worker, delivered, ahead: known }, now)
      : (await renewLease(tx, { peerId, worker }))
        ? []
        : null;
    for (const { due, outcome } of attempted) {
      if (outcome.kind !== "delivered") await writeFailure(tx, dependencies, due, outcome, now);
    }
    if (form) await tx.update(peers).set({ signatureForm: form }).where(eq(peers.id, peerId));
    const failure = attempted.flatMap(({ outcome }) => (outcome.kind === "peer" ? outcome.failure : []))[0];
    if (failure && still !== null) await failLane(tx, dependencies, peerId, failure, now);
    return still;
  });
}

interface DeliveredRow {
  readonly id: string;
  readonly receipt: string | null;
  readonly effect: string | null;
}

const deliveredRow = ({ due, outcome }: Attempted): DeliveredRow | [] =>
  outcome.kind === "delivered" ? { id: due.delivery.id, receipt: outcome.receipt, effect: outcome.effect } : [];

/**
 * All that were delivered in one statement, with the lane of a peer that is well: this is what is written most. Also what
 * was given up while it was under way has arrived, and the receipt says so. Null when `worker` has lost the lane.
 */
async function writeDelivered(
  tx: Tx,
  {
    delivered,
    ahead,
    ...lease
  }: Lease & { readonly delivered: readonly DeliveredRow[]; readonly ahead: readonly Due[] },
  now: Date,
): Promise<readonly Due[] | null> {
  const [written] = await prepareDelivered(tx).execute({
    ...lease,
    ids: delivered.map(({ id }) => id),
    delivered: JSON.stringify(delivered),
    now: now.toISOString(),
    ahead: ahead.map(({ delivery }) => delivery.id),
    peerVersion: ahead[0]?.peerVersion ?? "",
  });
  return written === undefined ? null : ahead.filter(({ delivery }) => written.ahead.includes(delivery.id));
}

/** The ids stand there twice: PostgreSQL takes JSON for a hundred rows, and would read the whole table for them. */
const prepareDelivered = preparedOnce((tx: Tx) => {
  const written = tx.$with("written", {}).as(sql`
    update deliveries set state = 'delivered', attempts = attempts + 1, last_error = null,
      receipt = taken.receipt, effect = taken.effect, delivered_at = ${sql.placeholder("now")}::timestamptz
    from json_to_recordset(${sql.placeholder("delivered")}::json) as taken(id uuid, receipt text, effect text)
    where deliveries.id = taken.id and deliveries.id = any(${sql.placeholder("ids")}::uuid[])
      and deliveries.state in ('queued', 'cancelled', 'discarded')`);
  return tx
    .with(written)
    .update(lanes)
    .set({ failures: 0, nextAttemptAt: null, lastError: null, lockedUntil: leaseEnd })
    .where(heldBy(sql.placeholder("peerId"), sql.placeholder("worker")))
    .returning({ ahead: stillDue(sql.placeholder("ahead"), sql.placeholder("peerVersion")) })
    .prepare("write_delivered");
});

async function writeFailure(
  tx: Tx,
  dependencies: WriteBackDependencies,
  { delivery, activity, peer }: Due,
  outcome: Exclude<Outcome, { readonly kind: "delivered" }>,
  now: Date,
): Promise<void> {
  const attempts = delivery.attempts + 1;
  const { kind, failure } = outcome;
  const change = {
    dead: { state: "dead" as const },
    // A failure of the peer leaves the delivery's own time alone: the lane waits, and its order is kept.
    peer: {},
    activity: { nextAttemptAt: backOff(dependencies, attempts, failure, now) },
  }[kind];
  await tx
    .update(deliveries)
    .set({ attempts, lastError: errorOf(failure, now), ...change })
    .where(and(eq(deliveries.id, delivery.id), eq(deliveries.state, "queued")));
  if (kind !== "dead") return;
  await recordEffects(tx, {
    at: now,
    actor: "node",
    action: "delivery.dead",
    object: delivery.activityId,
    data: { peer: peer.origin, code: failure.code },
    audience: [administrators, activity.actor],
  });
}

const errorOf = ({ status, code }: DeliveryFailure, now: Date): DeliveryError => ({
  status,
  code,
  at: now.toISOString(),
});

function backOff(
  { retry, random }: WriteBackDependencies,
  failures: number,
  failure: DeliveryFailure,
  now: Date,
): Date {
  const ceiling = Math.min(retry.cap, retry.base * 2 ** Math.min(failures, 40));
  return new Date(now.getTime() + Math.max(failure.retryAfter ?? 0, Math.round(ceiling * random())));
}

async function failLane(
  tx: Tx,
  dependencies: WriteBackDependencies,
  peerId: string,
  failure: DeliveryFailure,
  now: Date,
): Promise<void> {
  const [lane] = await tx.select({ failures: lanes.failures }).from(lanes).where(eq(lanes.peerId, peerId));
  const failures = (lane?.failures ?? 0) + 1;
  const nextAttemptAt = backOff(dependencies, failures, failure, now);
  await tx
    .update(lanes)
    .set({ failures, nextAttemptAt, lastError: errorOf(failure, now) })
    .where(eq(lanes.peerId, peerId));
}
