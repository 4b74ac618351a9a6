/** What time takes away: bodies of activities that have done their work. Ids, digests and receipts stay for ever. */
import { and, isNotNull, lt, notExists, sql } from "drizzle-orm";
import type { Tx } from "../storage/database.ts";
import { activities, deliveries, receivedActivities } from "../storage/schema.ts";

/** Drops the bodies of activities older than `days`: received ones, and sent ones that no delivery still needs. */
export async function dropOldBodies(
  tx: Tx,
  { now, days }: { readonly now: Date; readonly days: number },
): Promise<void> {
  const before = new Date(now.getTime() - days * 86_400_000);
  await tx
    .update(receivedActivities)
    .set({ body: null })
    .where(and(lt(receivedActivities.receivedAt, before), isNotNull(receivedActivities.body)));
  const needed = tx
    .select({ one: sql`1` })
    .from(deliveries)
    .where(and(sql`${deliveries.activityId} = ${activities.id}`, sql`${deliveries.state} in ('queued', 'dead')`));
  await tx
    .update(activities)
    .set({ body: null })
    .where(and(lt(activities.createdAt, before), isNotNull(activities.body), notExists(needed)));
}
