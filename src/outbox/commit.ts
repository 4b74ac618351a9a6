/** One change, one transaction: of inbox, platforms and administrators alike. Only what was committed wakes lanes. */
import type { WriteContext } from "../registry/projects.ts";
import type { Database, Tx } from "../storage/database.ts";
import { changeOnce, type Once } from "./once.ts";

export interface Change<T> {
  readonly value: T;
  /** Peers to whom something was appended; waking one for nothing does no harm. */
  readonly lanes: readonly string[];
}

export interface OutboxDependencies {
  readonly database: Database;
  readonly origin: string;
  readonly clock: () => Date;
  /** Says that a lane has something to send; called after the commit. */
  readonly wake: (lane: string, at?: Date) => void;
  /** Says that the journal has rows to number; called after the commit. */
  readonly numberJournal: () => void;
}

/** Under which terms a request asks for its change. */
export interface Terms {
  /** Set where the request may be repeated under an Idempotency-Key. */
  readonly once?: Once | undefined;
  /** Locks what the change is made to and judges it as it stands; throws where it is not what the caller has read. */
  readonly precondition?: ((tx: Tx, now: Date) => Promise<void>) | undefined;
}

/** Runs a change in one transaction; only what was committed wakes lanes and is numbered in the journal. */
export type Commit = <T>(change: (tx: Tx, context: WriteContext) => Promise<Change<T>>) => Promise<T>;

/** Changes under the same terms. What was made already comes first: a repetition is not judged again. */
export function createCommit(dependencies: OutboxDependencies, { once, precondition }: Terms = {}): Commit {
  const { database, origin, clock, wake, numberJournal } = dependencies;
  return async (change) => {
    const { value, lanes } = await database.transaction(async (tx) => {
      const now = clock();
      return await changeOnce(tx, once, now, async () => {
        await precondition?.(tx, now);
        return await change(tx, { origin, now });
      });
    });
    for (const lane of lanes) wake(lane);
    numberJournal();
    return value;
  };
}
