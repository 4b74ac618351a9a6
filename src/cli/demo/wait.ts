/** Waiting for what another process does. */
import { setTimeout as pause } from "node:timers/promises";
import { ConcordatError } from "../../errors.ts";

const everyMilliseconds = 50;
/** More than the lease of a lane (30 s), should a worker have been killed in the middle of an attempt. */
const patienceMilliseconds = 45_000;

/** Asks `probe` until it gives something. */
export type WaitFor = <T>(
  what: string,
  probe: () => Promise<T | null | undefined | false>,
  milliseconds?: number,
) => Promise<T>;

/**
 * What waits as long as nobody ends the demo; refusals of a probe in between are what waiting is for.
 * It rejects with `demo_timeout`, saying what did not happen and the last refusal, or as `signal` says.
 */
export function createWaitFor(signal: AbortSignal): WaitFor {
  return async (what, probe, milliseconds = patienceMilliseconds) => {
    const deadline = performance.now() + milliseconds;
    let last = "";
    do {
      signal.throwIfAborted();
      try {
        const found = await probe();
        if (found) return found;
      } catch (error) {
        last = error instanceof Error ? ` (${error.message})` : "";
      }
      await pause(everyMilliseconds);
    } while (performance.now() < deadline);
    throw new ConcordatError("demo_timeout", `It did not happen within ${milliseconds / 1000} s: ${what}${last}.`);
  };
}

/** @throws {ConcordatError} `demo_failed` when the demo did not show what it says */
export function expect(condition: boolean, message: string): asserts condition {
  if (!condition) throw new ConcordatError("demo_failed", message);
}
