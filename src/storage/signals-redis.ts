/** The signals port on Redis publish/subscribe, across processes. */
import type { OpenRedis } from "./redis.ts";
import { createLocalSignals, type Signals } from "./signals.ts";

export interface RedisSignalsOptions {
  /** What every channel begins with. */
  readonly prefix: string;
}

/** How often listeners look for themselves while Redis is away, milliseconds. */
const lookEvery = 1_000;

export function createRedisSignals(redis: OpenRedis, { prefix }: RedisSignalsOptions): Signals {
  const local = createLocalSignals();
  const names = new Map<string, number>();
  const subscriber = redis.connect({ maxRetriesPerRequest: null });
  const tellAll = () => {
    for (const name of names.keys()) local.send(name);
  };
  subscriber.on("message", (channel: string) => local.send(channel.slice(prefix.length)));
  // What was sent while the connection was away is not sent again; subscriptions come back by themselves.
  subscriber.on("ready", tellAll);
  const looking = setInterval(() => {
    if (subscriber.status !== "ready") tellAll();
  }, lookEvery);
  looking.unref();

  return {
    send(name) {
      local.send(name);
      if (redis.isReady()) redis.client.publish(prefix + name, "").catch(() => {});
    },
    listen(name, heard) {
      const count = names.get(name) ?? 0;
      names.set(name, count + 1);
      if (count === 0) subscriber.subscribe(prefix + name).catch(() => {});
      const end = local.listen(name, heard);
      let ended = false;
      return () => {
        if (ended) return;
        ended = true;
        end();
        const left = (names.get(name) ?? 1) - 1;
        if (left > 0) names.set(name, left);
        else {
          names.delete(name);
          subscriber.unsubscribe(prefix + name).catch(() => {});
        }
      };
    },
    async [Symbol.asyncDispose]() {
      clearInterval(looking);
      subscriber.disconnect();
      await local[Symbol.asyncDispose]();
    },
  };
}
