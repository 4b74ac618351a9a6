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
  const count = createGathering<Charge, number>({ run: (charges) => countTogether(keyValue, charges) });
  return async ({ id, policy }, now) => {
    const seconds = Math.floor(now.getTime() / 1000);
    for (const { greatest, span } of [
      { greatest: policy.per_minute, span: 60 },
      { greatest: policy.per_day, span: 86_400 },
    ]) {
      if (greatest === null) continue;
      const window = Math.floor(seconds / span);
      const sent = await count({ key: `quota:${id}:${span}:${window}`, milliseconds: span * 1000 });
      if (sent <= greatest) continue;
      const left = (window + 1) * span - seconds;
      throw new Problem("rate_limited", "The quota for this peer is used up.", { retry_after: left });
    }
  };
}

/** Counts each key up once for all of its charges; every charge gets a number of its own. */
async function countTogether(keyValue: KeyValue, charges: readonly Charge[]): Promise<readonly number[]> {
  const byKey = new Map<string, Charge[]>();
  for (const charge of charges) byKey.set(charge.key, [...(byKey.get(charge.key) ?? []), charge]);
  const numbers = new Map<Charge, number>();
  await Promise.all(
    [...byKey.values()].map(async (same) => {
      const [{ key, milliseconds }] = same as [Charge];
      const last = await keyValue.increment(key, milliseconds, same.length);
      for (const [at, charge] of same.entries()) numbers.set(charge, last - same.length + at + 1);
    }),
  );
  return charges.map((charge) => numbers.get(charge) as number);
}
