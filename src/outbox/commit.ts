/** One change, one transaction: of inbox, platforms and administrators alike. Only what was committed wakes lanes. */
import { changeOnce, findMade, type Once } from "../registry/idempotency.ts";
import type { WriteContext } from "../registry/projects.ts";
import type { Database, Tx } from "../storage/database.ts";

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

/** What is to be done in one transaction. */
export type MakeChange<T> = (tx: Tx, context: WriteContext) => Promise<Change<T>>;

/** Runs a change in one transaction; only what was committed wakes lanes and is numbered in the journal. */
export interface Commit {
  <T>(make: MakeChange<T>): Promise<T>;
  /** A change that others are asked for first, over the network: nobody is for one that was made already. */
  prepared<T>(prepare: () => Promise<MakeChange<T>>): Promise<T>;
}

/** Changes under the same terms. What was made already comes first: a repetition is not judged again. */
export function createCommit(dependencies: OutboxDependencies, { once, precondition }: Terms = {}): Commit {
  const { database, origin, clock, wake, numberJournal } = dependencies;
  const commit = async <T>(make: MakeChange<T>): Promise<T> => {
    const { value, lanes } = await database.transaction(async (tx) => {
      const now = clock();
      return await changeOnce(tx, once, now, async () => {
        await precondition?.(tx, now);
        return await make(tx, { origin, now });
      });
    });
    for (const lane of lanes) wake(lane);
    numberJournal();
    return value;
  };
  const prepared = async <T>(prepare: () => Promise<MakeChange<T>>): Promise<T> => {
    const made = once && (await findMade<Change<T>>(database.db, once));
    return made ? made.value : await commit(await prepare());
  };
  return Object.assign(commit, { prepared });
}
