/** The key-value port on Redis, for several processes. */

import type { KeyValue } from "./key-value.ts";
import { createMemoryKeyValue } from "./key-value-memory.ts";
import type { OpenRedis } from "./redis.ts";

export interface RedisKeyValueOptions {
  readonly clock: () => Date;
  /** What every key begins with. */
  readonly prefix: string;
}

/** Counts up and opens the window in one step: a count without an end would never be one again. */
const incrementScript = `
  local count = redis.call('INCRBY', KEYS[1], ARGV[2])
  if count == tonumber(ARGV[2]) or redis.call('PTTL', KEYS[1]) == -1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
  return count`;

/**
 * While Redis does not answer, each process counts and remembers for itself: limits hold per process then, and nobody is
 * turned away for want of a counter.
 */
export function createRedisKeyValue(redis: OpenRedis, { clock, prefix }: RedisKeyValueOptions): KeyValue {
  const alone = createMemoryKeyValue({ clock });
  const { client } = redis;
  const ask = async <T>(shared: () => Promise<T>, own: () => Promise<T>): Promise<T> => {
    if (!redis.isReady()) return await own();
    try {
      return await shared();
    } catch {
      // Whether it answers at all is asked of it all the time, and told (redis.ts).
      return await own();
    }
  };

  return {
    get: (key) =>
      ask(
        async () => (await client.get(prefix + key)) ?? undefined,
        () => alone.get(key),
      ),
    set: (key, value, ttl) =>
      ask(
        async () => {
          if (ttl === undefined) await client.set(prefix + key, value);
          else await client.set(prefix + key, value, "PX", Math.max(1, Math.round(ttl)));
        },
        () => alone.set(key, value, ttl),
      ),
    delete: (key) =>
      ask(
        async () => void (await client.del(prefix + key)),
        () => alone.delete(key),
      ),
    increment: (key, ttl, by = 1) =>
      ask(
        async () => Number(await client.eval(incrementScript, 1, prefix + key, Math.max(1, Math.round(ttl)), by)),
        () => alone.increment(key, ttl, by),
      ),
    [Symbol.asyncDispose]: () => alone[Symbol.asyncDispose](),
  };
}
