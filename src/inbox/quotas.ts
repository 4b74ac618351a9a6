/** What a peer may send in a minute and in a day; what comes together is counted together. */
import { Problem } from "../errors.ts";
import type { PeerRow } from "../registry/peers.ts";
import type { KeyValue } from "../storage/key-value.ts";
import { createGathering } from "./gather.ts";

/** Charges one activity of a peer. @throws {Problem} `rate_limited` */
export type ChargeQuota = (peer: PeerRow, now: Date) => Promise<void>;

interface Charge {
  readonly key: string;
  readonly milliseconds: number;
}

export function createQuotas(keyValue: KeyValue): ChargeQuota {
  const count = createGathering<readonly Charge[], readonly number[]>({
    run: (charged) => countTogether(keyValue, charged),
  });
  return async ({ id, policy }, now) => {
    const seconds = Math.floor(now.getTime() / 1000);
    const windows = [
      { greatest: policy.per_minute, span: 60 },
      { greatest: policy.per_day, span: 86_400 },
    ].flatMap(({ greatest, span }) => {
      const window = Math.floor(seconds / span);
      return greatest === null
        ? []
        : { greatest, key: `quota:${id}:${span}:${window}`, span, ends: (window + 1) * span };
    });
    const sent = await count(windows.map(({ key, span }) => ({ key, milliseconds: span * 1000 })));
    for (const [at, { greatest, ends }] of windows.entries()) {
      if ((sent[at] as number) <= greatest) continue;
      throw new Problem("rate_limited", "The quota for this peer is used up.", { retry_after: ends - seconds });
    }
  };
}

/** Counts each key up once for all of its charges; every charge gets a number of its own. */
async function countTogether(
  keyValue: KeyValue,
  charged: readonly (readonly Charge[])[],
): Promise<readonly (readonly number[])[]> {
  const totals = new Map<string, { readonly milliseconds: number; by: number }>();
  // How many of its key came before, of those that are counted here.
  const places = charged.map((charges) =>
    charges.map(({ key, milliseconds }) => {
      const total = totals.get(key) ?? { milliseconds, by: 0 };
      totals.set(key, total);
      total.by += 1;
      return total.by;
    }),
  );
  const firsts = new Map<string, number>();
  await Promise.all(
    [...totals].map(async ([key, { milliseconds, by }]) => {
      firsts.set(key, (await keyValue.increment(key, milliseconds, by)) - by);
    }),
  );
  return charged.map((charges, at) =>
    charges.map(({ key }, which) => (firsts.get(key) as number) + ((places[at] as number[])[which] as number)),
  );
}
