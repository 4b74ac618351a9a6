/**
 * Work that comes in bursts, divided among turns of the event loop: whatever else waits, `/health` too, is heard in
 * between.
 */

/** How much of such work is begun in one turn, milliseconds. */
const share = 10;

const waiting: (() => void)[] = [];
let granting = false;
/** When the share of this turn is used up; undefined in a turn without such work. */
let end: number | undefined;

/** Resolves when there is time for a piece of such work, one after the other in the order of the calls. */
export function inPace(): Promise<void> {
  return new Promise((resolve) => {
    waiting.push(resolve);
    if (!granting) void grantAll();
  });
}

async function grantAll(): Promise<void> {
  granting = true;
  while (waiting.length > 0) {
    end ??= beginTurn();
    if (performance.now() >= end) {
      await new Promise(setImmediate);
      continue;
    }
    waiting.shift()?.();
    // That piece is done, as far as it goes without waiting, when this goes on.
    await undefined;
  }
  granting = false;
}

function beginTurn(): number {
  setImmediate(() => {
    end = undefined;
  });
  return performance.now() + share;
}
