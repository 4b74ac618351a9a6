/** Work that many ask for, and that need be done but once for all of them. */

export interface SoonOptions {
  /** From one beginning to the next at least, milliseconds. */
  readonly interval: number;
  /** Gets what fails. */
  readonly onError: (error: unknown) => void;
}

/** Asks for the work. From its disposal on nothing is begun, and that waits for what is under way. */
export interface Soon extends AsyncDisposable {
  (): void;
}

/**
 * Gives a function that asks for `work`, which runs soon after, never twice at a time, and once for all who asked before
 * it began. What is asked for when the process ends is not done.
 */
export function createSoon(work: () => Promise<unknown>, { interval, onError }: SoonOptions): Soon {
  let asked = false;
  let closed = false;
  let planned: NodeJS.Timeout | undefined;
  let running: Promise<void> | undefined;
  let begun = Number.NEGATIVE_INFINITY;

  const plan = () => {
    if (!asked || closed || planned !== undefined || running !== undefined) return;
    planned = setTimeout(
      () => {
        planned = undefined;
        running = run().finally(() => {
          running = undefined;
          plan();
        });
      },
      Math.max(0, begun + interval - performance.now()),
    ).unref();
  };
  const run = async () => {
    asked = false;
    begun = performance.now();
    try {
      await work();
    } catch (error) {
      onError(error);
    }
  };
  const ask = () => {
    asked = true;
    plan();
  };
  return Object.assign(ask, {
    async [Symbol.asyncDispose]() {
      closed = true;
      clearTimeout(planned);
      await running;
    },
  });
}
