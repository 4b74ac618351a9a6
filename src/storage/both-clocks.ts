/** Now, and what is old, for what a clock that is ahead must not do: by the process's clock or the database's, whichever is behind. */
import { type SQL, sql } from "drizzle-orm";

/** The earlier of both clocks' now. */
export function earlierNow(now: Date): SQL {
  return sql`least(${now.toISOString()}::timestamptz, now())`;
}

/** The instant `milliseconds` before that: a process whose clock is ahead deletes nothing that another still needs. */
export function longSince(now: Date, milliseconds: number): SQL {
  return sql`${earlierNow(now)} - ${milliseconds}::float8 * interval '1 millisecond'`;
}
