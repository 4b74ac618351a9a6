/** What is cheaper done together: calls that come while a run is under way wait, and go together in the next one. */
import { Problem } from "../errors.ts";
import { limits } from "../protocol/limits.ts";
import { within } from "../within.ts";

export interface GatherOptions<Item, Result> {
  /** Does all of them and gives a result for each, in order. What it throws is thrown to every one of them. */
  readonly run: (items: readonly Item[]) => Promise<readonly (Result | PromiseLike<Result>)[]>;
  /** How many go together. */
  readonly most?: number;
  /** What may wait or run at a time, in all; no bound where it is absent. */
  readonly bound?: { readonly weighs: (item: Item) => number; readonly greatest: number };
  /** How long a call waits for its turn and its result together, milliseconds. */
  readonly answerWithin?: number;
}

interface Waiting<Item, Result> {
  readonly item: Item;
  readonly resolve: (result: Result | PromiseLike<Result>) => void;
  readonly reject: (error: unknown) => void;
}

/** How long what comes later waits for a run that is slow, before its own begins beside it, milliseconds. */
const patience = 100;

/**
 * A call's run begins after the call, so what it reads is not older than the call.
 * The call throws {Problem} `unavailable` where the bound is reached: refusing costs less than memory without end. So it does
 * when its time is over; what has not begun by then does not begin.
 */
export function createGathering<Item, Result>({
  run,
  most = 100,
  bound,
  answerWithin = limits.storeMilliseconds,
}: GatherOptions<Item, Result>): (item: Item) => Promise<Result> {
  const waiting: Waiting<Item, Result>[] = [];
  let running = false;
  let weight = 0;

  const runTogether = async (group: readonly Waiting<Item, Result>[]): Promise<void> => {
    try {
      const results = await run(group.map(({ item }) => item));
      for (const [at, { resolve }] of group.entries()) resolve(results[at] as Result);
    } catch (error) {
      for (const { reject } of group) reject(error);
    }
  };
  const runAll = async (): Promise<void> => {
    running = true;
    while (waiting.length > 0) await within(patience, runTogether(waiting.splice(0, most)));
    running = false;
  };

  return async (item) => {
    const itsWeight = bound?.weighs(item) ?? 0;
    if (bound && weight + itsWeight > bound.greatest) {
      throw new Problem("unavailable", "Too much is waiting to be stored; try again in a moment.", { retry_after: 2 });
    }
    weight += itsWeight;
    let giveUp: () => void = () => {};
    const result = new Promise<Result>((resolve, reject) => {
      const one = { item, resolve, reject };
      waiting.push(one);
      // What else came in this turn of the event loop goes along.
      if (!running && waiting.length === 1) setImmediate(() => void runAll());
      giveUp = () => {
        const at = waiting.indexOf(one);
        if (at < 0) return;
        waiting.splice(at, 1);
        reject(tooLate());
      };
    });
    // What is in a run takes its place until that ends, also when nobody waits for it any more.
    const free = () => {
      weight -= itsWeight;
    };
    result.then(free, free);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, refuse) => {
      timer = setTimeout(() => {
        giveUp();
        refuse(tooLate());
      }, answerWithin);
    });
    try {
      return await Promise.race([result, late]);
    } finally {
      clearTimeout(timer);
    }
  };
}

const tooLate = () =>
  new Problem("unavailable", "What this waits for does not answer in time; try again in a moment.", {
    retry_after: 5,
  });
