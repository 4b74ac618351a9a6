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
  /** Set where the request may be repeated under an Idempotency-Key. */
  readonly once?: Once | undefined;
}

/** Runs a change in one transaction; only what was committed wakes lanes and is numbered in the journal. */
export async function commitChange<T>(
  dependencies: OutboxDependencies,
  change: (tx: Tx, context: WriteContext) => Promise<Change<T>>,
): Promise<T> {
  const { database, origin, clock, wake, numberJournal, once } = dependencies;
  const { value, lanes } = await database.transaction(async (tx) => {
    const now = clock();
    return await changeOnce(tx, once, now, () => change(tx, { origin, now }));
  });
  for (const lane of lanes) wake(lane);
  numberJournal();
  return value;
}
