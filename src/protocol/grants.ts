/** When a grant counts, by whoever's clock: nodes, clients and readers of an envelope ask the same (docs/protocol.md, "Activities"). */
import { limits } from "./limits.ts";
import type { Grant } from "./objects.ts";

/** What begins, a grant or an access key, has begun when that is at most this far ahead of `now`: clocks differ. */
export const latestBegin = (now: Date) => new Date(now.getTime() + limits.clockSkew * 1000);

/** Begun and not expired at `now`. Such grantees, and the owner, are whom an envelope is sealed for. */
export function isLive({ from, expires }: Pick<Grant, "from" | "expires">, now: Date): boolean {
  const begun = Date.parse(from) <= latestBegin(now).getTime();
  return begun && (expires === undefined || now.getTime() < Date.parse(expires));
}
