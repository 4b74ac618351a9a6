/** Draws a number in [0, 1). */
export type Random = () => number;

/** mulberry32: small, seeded, good enough to choose moments. */
export function createRandom(seed: number): Random {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** One of them; undefined of none. */
export const pick = <T>(random: Random, items: readonly T[]): T | undefined =>
  items[Math.floor(random() * items.length)];

/** One of them, each as often as the number beside it says, of all numbers together. */
export function pickWeighted<T>(random: Random, weighted: readonly (readonly [number, T])[]): T {
  let drawn = random() * weighted.reduce((sum, [weight]) => sum + weight, 0);
  const found = weighted.find(([weight]) => {
    drawn -= weight;
    return drawn < 0;
  });
  return ((found ?? weighted[0]) as readonly [number, T])[1];
}
