/** What may be deleted as old. */
import { type SQL, sql } from "drizzle-orm";

/**
 * The instant `milliseconds` before now, by the process's clock or by the database's, whichever is behind: a process
 * whose clock is ahead deletes nothing that another still needs.
 */
export function longSince(now: Date, milliseconds: number): SQL {
  return sql`least(${now.toISOString()}::timestamptz, now()) - ${milliseconds}::float8 * interval '1 millisecond'`;
}
