/** The signals port on Redis publish/subscribe, across processes. */
import type { OpenRedis } from "./redis.ts";
import { createLocalSignals, type Signals } from "./signals.ts";

export interface RedisSignalsOptions {
  /** What every channel begins with. */
  readonly prefix: string;
}

/** How often listeners look for themselves while Redis is away, or what it sends may not arrive, milliseconds. */
const lookEvery = 1_000;
/** What an answer on the subscriber's connection may take, milliseconds: one that is dead says nothing of it. */
const answerWithin = 1_000;

export function createRedisSignals(redis: OpenRedis, { prefix }: RedisSignalsOptions): Signals {
  const local = createLocalSignals();
  const names = new Map<string, number>();
  const subscriber = redis.connect({
    maxRetriesPerRequest: null,
    autoResubscribe: false,
    commandTimeout: answerWithin,
  });
  const tellAll = () => {
    for (const name of names.keys()) local.send(name);
  };
  subscriber.on("message", (channel: string) => local.send(channel.slice(prefix.length)));
  const subscribe = (channels: readonly string[]) => {
    // One that fails was cut off: it is asked for again when the connection is back.
    if (channels.length > 0) subscriber.subscribe(...channels).then(tellAll, () => {});
  };
  // What was sent while the connection was away is not sent again.
  subscriber.on("ready", () => subscribe([...names.keys()].map((name) => prefix + name)));
  const look = async () => {
    if (names.size === 0) return;
    if (!redis.isReady() || subscriber.status !== "ready") return tellAll();
    await subscriber.ping().catch(() => {
      tellAll();
      // Redis answers, and this connection does not: another one.
      if (redis.isReady() && subscriber.status === "ready") subscriber.disconnect(true);
    });
  };
  const looking = setInterval(() => void look(), lookEvery);
  looking.unref();

  return {
    send(name) {
      local.send(name);
      if (redis.isReady()) redis.client.publish(prefix + name, "").catch(() => {});
    },
    listen(name, heard) {
      const count = names.get(name) ?? 0;
      names.set(name, count + 1);
      if (count === 0 && subscriber.status === "ready") subscribe([prefix + name]);
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
          if (subscriber.status === "ready") subscriber.unsubscribe(prefix + name).catch(() => {});
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
