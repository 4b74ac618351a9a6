/** When deliveries are tried next: one answer for whoever sends them, plans that, or shows it. */
import { type SQL, sql } from "drizzle-orm";
import { deliveries, lanes } from "../storage/schema.ts";

/**
 * From when on a queued delivery may be sent, as far as it alone is concerned. What was never tried is due at `now` at
 * the latest: the clock may have been ahead when it was written.
 */
export const dueAt = (now: SQL): SQL =>
  sql`case when ${deliveries.attempts} = 0 then least(${deliveries.createdAt}, ${now}) else ${deliveries.nextAttemptAt} end`;

/** When a queued delivery, joined with its lane if there is one, is tried next: not before the lane's back-off is over. */
export const nextAttemptAt = (now: SQL = sql`clock_timestamp()`): SQL<string> =>
  sql<string>`greatest(${dueAt(now)}, ${lanes.nextAttemptAt})`;

/** A process's clock in a statement. */
export const instantOf = (now: Date): SQL => sql`${now.toISOString()}::timestamptz`;
