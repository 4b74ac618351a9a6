import { Problem } from "./errors.ts";

export interface Turn {
  /** How many of one key may wait or run. */
  readonly most?: number;
  /** Aborted when nobody waits for it any more: what has not begun by then does not begin, and throws its reason. */
  readonly over?: AbortSignal;
}

/**
 * Runs what concerns one key one after the other, in this process.
 * The call throws {Problem} `unavailable` where too many of its key are there already.
 */
export function createTurns() {
  const queues = new Map<string, { readonly last: Promise<unknown>; readonly length: number }>();
  const leave = (key: string): void => {
    const queue = queues.get(key);
    if (queue === undefined || queue.length === 1) queues.delete(key);
    else queues.set(key, { ...queue, length: queue.length - 1 });
  };
  return async <T>(key: string, run: () => Promise<T>, { most, over }: Turn = {}): Promise<T> => {
    const { last, length } = queues.get(key) ?? { last: Promise.resolve(), length: 0 };
    if (most !== undefined && length >= most) {
      throw new Problem("unavailable", "Too many wait for each other here; try again in a moment.", { retry_after: 5 });
    }
    const turn = last.then(() => {
      over?.throwIfAborted();
      return run();
    });
    const ended = turn.then(
      () => leave(key),
      () => leave(key),
    );
    queues.set(key, { last: ended, length: length + 1 });
    return await turn;
  };
}
