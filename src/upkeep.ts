/** What a process that delivers does by itself now and then: what no wake and no signal has told is found. */
import { type LaneDependencies, sweepLanes } from "./outbox/lanes.ts";
import { tellExpiringKeys } from "./registry/expiring-keys.ts";
import { dropOld } from "./registry/retention.ts";
import { sequenceJournal } from "./registry/sequencer.ts";

export interface UpkeepDependencies extends LaneDependencies {
  /** Asks for those to be admitted that wait with an invitation. */
  readonly admitInvited: () => void;
  /** Told when rows of the journal have got numbers. */
  readonly onNumbered: () => void;
  readonly retentionDays: number;
  /** Gets what fails; the duty is due again at its next time. */
  readonly onError: (error: unknown) => void;
}

const sweepMilliseconds = 5_000;
const retentionMilliseconds = 3_600_000;

/** Begins every duty at once; none waits for another, or keeps it from being done. Disposed of, it ends with what runs. */
export function startUpkeep(dependencies: UpkeepDependencies): AsyncDisposable {
  const { database, clock, stopping, retentionDays: days, admitInvited, onNumbered, onError } = dependencies;
  const numberJournal = async () => {
    if ((await sequenceJournal(database)) > 0) onNumbered();
  };
  const duties = [
    every(sweepMilliseconds, () => sweepLanes(dependencies), onError),
    every(sweepMilliseconds, numberJournal, onError),
    every(sweepMilliseconds, () => tellExpiringKeys(database, clock()), onError),
    every(sweepMilliseconds, async () => admitInvited(), onError),
    every(retentionMilliseconds, () => dropOld(database.db, { now: clock(), days, stopping }), onError),
  ];
  return {
    async [Symbol.asyncDispose]() {
      await Promise.all(duties.map((duty) => duty[Symbol.asyncDispose]()));
    },
  };
}

/** Runs `work` now and then again, until disposed; what runs then is waited for. */
function every(milliseconds: number, work: () => Promise<unknown>, onError: (error: unknown) => void): AsyncDisposable {
  let running: Promise<unknown> | undefined;
  const run = () => {
    // One that takes longer than the interval is not followed by all that it has missed.
    running ??= work()
      .catch(onError)
      .finally(() => {
        running = undefined;
      });
  };
  run();
  const timer = setInterval(run, milliseconds);
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await running;
    },
  };
}
