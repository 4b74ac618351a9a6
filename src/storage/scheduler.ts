/** Port: says when a lane is to be drained. It holds no truth: what it forgets, the sweeper finds in the database. */

export interface Scheduler extends AsyncDisposable {
  /** Takes what drains a lane; wakes that came before are honoured now. Called once. */
  start(drain: (lane: string) => Promise<void>): void;
  /**
   * Asks for a drain of `lane` at `at`, or now. The earliest time that was asked for holds; one drain per lane runs at a
   * time, and a wake while it runs leads to another one afterwards. Disposing waits for drains that run.
   */
  wake(lane: string, at?: Date): void;
  /** Asks for a drain of `lane` now, in this process, whatever became of wakes: for what should have been drained long ago. */
  insist(lane: string): void;
  /**
   * Begins no drain any more in this process, which is about to end; wakes are for others. Resolves when the drains that
   * run have ended.
   */
  halt(): Promise<void>;
}
