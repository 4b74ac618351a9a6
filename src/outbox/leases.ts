/**
 * Leases of lanes: who drains one, and until when that holds without renewal. The database's clock alone tells the time
 * of them, for the clocks of several processes differ.
 */
import { and, eq, gt, isNotNull, isNull, lte, or, type Placeholder, sql } from "drizzle-orm";
import type { Tx } from "../storage/database.ts";
import { lanes } from "../storage/schema.ts";

/** How long a lease holds without renewal: how soon a lane is taken over whose worker was killed. */
const lease = sql`interval '4 seconds'`;

/** Until when a lease holds that is taken or renewed now. */
export const leaseEnd = sql`clock_timestamp() + ${lease}`;

/** What is left of a lane's lease: an interval, null where nobody holds it, negative once it has run out. */
export const leaseLeft = sql`${lanes.lockedUntil} - clock_timestamp()`;

const isFree = sql`(${lanes.lockedUntil} is null or ${lanes.lockedUntil} <= clock_timestamp())`;
const unheld = { lockedBy: null, lockedUntil: null };
/** The lane of a peer, as far as `worker` holds it. */
export const heldBy = (peerId: string | Placeholder, worker: string | Placeholder) =>
  and(eq(lanes.peerId, peerId), eq(lanes.lockedBy, worker));

/** Takes the lane of a peer that there is, when it is due at `now` and nobody holds it; false when it is not. */
export async function takeLease(
  tx: Tx,
  { peerId, worker, now }: { readonly peerId: string; readonly worker: string; readonly now: Date },
): Promise<boolean> {
  const taken = await tx
    .insert(lanes)
    .values({ peerId, lockedBy: worker, lockedUntil: leaseEnd })
    .onConflictDoUpdate({
      target: lanes.peerId,
      set: { lockedBy: worker, lockedUntil: leaseEnd },
      setWhere: sql`${isFree} and ${or(isNull(lanes.nextAttemptAt), lte(lanes.nextAttemptAt, now))}`,
    })
    .returning({ peerId: lanes.peerId });
  return taken.length > 0;
}

/** Renews the lease that `worker` holds; false when it has lost the lane. */
export async function renewLease(
  tx: Tx,
  { peerId, worker }: { readonly peerId: string; readonly worker: string },
): Promise<boolean> {
  const renewed = await tx
    .update(lanes)
    .set({ lockedUntil: leaseEnd })
    .where(heldBy(peerId, worker))
    .returning({ peerId: lanes.peerId });
  return renewed.length > 0;
}

export async function endLease(
  tx: Tx,
  { peerId, worker }: { readonly peerId: string; readonly worker: string },
): Promise<void> {
  await tx.update(lanes).set(unheld).where(heldBy(peerId, worker));
}

/**
 * Ends the leases of a process that was killed, which would hold its lanes until they run out. Only for a process that
 * serves its database alone: those of others would end as well.
 */
export async function endLeases(tx: Tx): Promise<void> {
  await tx.update(lanes).set(unheld).where(isNotNull(lanes.lockedBy));
}

/** Ends leases longer than any that is given out: the database's clock was ahead when they were written. */
export async function endStrangeLeases(tx: Tx): Promise<void> {
  await tx.update(lanes).set(unheld).where(gt(lanes.lockedUntil, leaseEnd));
}
