/** Work that many ask for, and that need be done but once for all of them. */

export interface SoonOptions {
  /** From one beginning to the next at least, milliseconds. */
  readonly interval: number;
  /** Gets what fails. */
  readonly onError: (error: unknown) => void;
}

/**
 * Gives a function that asks for `work`, which runs soon after, never twice at a time, and once for all who asked before
 * it began. What is asked for when the process ends is not done.
 */
export function createSoon(work: () => Promise<unknown>, { interval, onError }: SoonOptions): () => void {
  let asked = false;
  let busy = false;
  let begun = Number.NEGATIVE_INFINITY;

  const plan = () => {
    busy = true;
    setTimeout(() => void run(), Math.max(0, begun + interval - performance.now())).unref();
  };
  const run = async () => {
    asked = false;
    begun = performance.now();
    try {
      await work();
    } catch (error) {
      onError(error);
    }
    busy = false;
    if (asked) plan();
  };
  return () => {
    asked = true;
    if (!busy) plan();
  };
}
