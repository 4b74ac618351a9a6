/** The key-value port on `level`, for one process. */
import { dirname } from "node:path";
import { createTurns } from "../turns.ts";
import type { KeyValue } from "./key-value.ts";
import { openLevel } from "./level-lock.ts";

/** What is stored: the value and when it ends (milliseconds since 1970), null for never. */
interface Entry {
  readonly value: string;
  readonly expires: number | null;
}

export interface LevelKeyValueOptions {
  readonly clock: () => Date;
  /** How often expired entries are removed, milliseconds; reads never see them anyway. */
  readonly sweepEvery?: number;
}

/**
 * Opens the store in the folder `location`, which lies in the data directory.
 * @throws {ConcordatError} `data_directory_in_use` by another process, naming the folder above
 */
export async function openLevelKeyValue(location: string, options: LevelKeyValueOptions): Promise<KeyValue> {
  const { clock, sweepEvery = 60_000 } = options;
  const level = await openLevel<Entry>(location, dirname(location), "json");
  const inTurn = createTurns();
  const isLive = (entry: Entry) => entry.expires === null || clock().getTime() < entry.expires;
  const expiry = (ttl: number | undefined) => (ttl === undefined ? null : clock().getTime() + ttl);

  const readLive = async (key: string): Promise<Entry | undefined> => {
    const entry = await level.get(key);
    return entry !== undefined && isLive(entry) ? entry : undefined;
  };
  const removeExpired = async (): Promise<void> => {
    for await (const [key, entry] of level.iterator()) {
      if (isLive(entry)) continue;
      // Looked at again in its turn: it may have been set anew since the iterator's snapshot.
      await inTurn(key, async () => {
        if ((await readLive(key)) === undefined) await level.del(key);
      });
    }
  };

  let sweeping: Promise<void> = Promise.resolve();
  const sweeper = setInterval(() => {
    // A sweep that fails is one that the next one makes up for.
    sweeping = sweeping.then(removeExpired).catch(() => {});
  }, sweepEvery);
  sweeper.unref();

  return {
    get: async (key) => (await readLive(key))?.value,
    set: (key, value, ttl) => inTurn(key, () => level.put(key, { value, expires: expiry(ttl) })),
    delete: (key) => inTurn(key, () => level.del(key)),
    increment: (key, ttl, by = 1) =>
      inTurn(key, async () => {
        const entry = await readLive(key);
        const count = Number(entry?.value ?? 0) + by;
        await level.put(key, { value: String(count), expires: entry === undefined ? expiry(ttl) : entry.expires });
        return count;
      }),
    async [Symbol.asyncDispose]() {
      clearInterval(sweeper);
      await sweeping;
      await level.close();
    },
  };
}
