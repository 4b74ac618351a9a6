/** The key-value port in the memory of this process. */
import type { KeyValue } from "./key-value.ts";

interface Entry {
  readonly value: string;
  /** Milliseconds since 1970; null for never. */
  readonly expires: number | null;
}

export interface MemoryKeyValueOptions {
  readonly clock: () => Date;
  /** The oldest key goes when there are more. */
  readonly mostKeys?: number;
}

export function createMemoryKeyValue({ clock, mostKeys = 100_000 }: MemoryKeyValueOptions): KeyValue {
  const entries = new Map<string, Entry>();
  const expiry = (ttl: number | undefined) => (ttl === undefined ? null : clock().getTime() + ttl);
  const readLive = (key: string): Entry | undefined => {
    const entry = entries.get(key);
    if (entry === undefined || entry.expires === null || clock().getTime() < entry.expires) return entry;
    entries.delete(key);
    return undefined;
  };
  const put = (key: string, entry: Entry): void => {
    // Set anew it is the youngest: the map keeps the order of insertion.
    entries.delete(key);
    entries.set(key, entry);
    if (entries.size <= mostKeys) return;
    const [oldest] = entries.keys();
    if (oldest !== undefined) entries.delete(oldest);
  };

  return {
    get: async (key) => readLive(key)?.value,
    set: async (key, value, ttl) => put(key, { value, expires: expiry(ttl) }),
    delete: async (key) => void entries.delete(key),
    async increment(key, ttl, by = 1) {
      const entry = readLive(key);
      const count = Number(entry?.value ?? 0) + by;
      put(key, { value: String(count), expires: entry === undefined ? expiry(ttl) : entry.expires });
      return count;
    },
    async [Symbol.asyncDispose]() {
      entries.clear();
    },
  };
}
