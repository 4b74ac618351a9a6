/** Waiting for what another process does. */
import { setTimeout as pause } from "node:timers/promises";
import { ConcordatError } from "../../errors.ts";

const everyMilliseconds = 50;
/** More than the lease of a lane (30 s), should a worker have been killed in the middle of an attempt. */
const patienceMilliseconds = 45_000;

/**
 * Asks until `probe` gives something; refusals in between are what waiting is for.
 * @throws {ConcordatError} `demo_timeout`, saying what did not happen and the last refusal
 */
export async function waitFor<T>(
  what: string,
  probe: () => Promise<T | null | undefined | false>,
  milliseconds = patienceMilliseconds,
): Promise<T> {
  const deadline = performance.now() + milliseconds;
  let last = "";
  do {
    try {
      const found = await probe();
      if (found) return found;
    } catch (error) {
      last = error instanceof Error ? ` (${error.message})` : "";
    }
    await pause(everyMilliseconds);
  } while (performance.now() < deadline);
  throw new ConcordatError("demo_timeout", `It did not happen within ${milliseconds / 1000} s: ${what}${last}.`);
}

/** @throws {ConcordatError} `demo_failed` when the demo did not show what it says */
export function expect(condition: boolean, message: string): asserts condition {
  if (!condition) throw new ConcordatError("demo_failed", message);
}
