/** The connection to Redis, which may be lost at any moment without losing anything: every command fails at once then. */
import { Redis, type RedisOptions } from "ioredis";
import { ConcordatError } from "../errors.ts";

/** What a command may take, milliseconds; a request waits for no longer than this. */
const answerWithin = 1_000;
/** How often it is asked whether it still takes what is written, and how often how it is set up, milliseconds. */
const probeEvery = 1_000;
const settingsEvery = 30_000;
/** How long a start waits for a Redis that does not answer, milliseconds: it may come up at the same time. */
const patience = 3_000;

/** What differs from one connection to another. */
type ConnectionOptions = Pick<
  RedisOptions,
  "autoResubscribe" | "commandTimeout" | "enableOfflineQueue" | "maxRetriesPerRequest"
>;

/** `stuck`: it works, and wakes lie in it that nobody takes; `evicts`: it would drop keys of its own accord when it is full. */
export type RedisState = "ok" | "unreachable" | "stuck" | "evicts";

export interface OpenRedis extends AsyncDisposable {
  /** For commands: they fail at once while there is no connection. */
  readonly client: Redis;
  /** Whether it takes what is written: not while it is frozen or full, though the connection stands. */
  isReady(): boolean;
  /** The same in a word, and whether it is set up as it must be. */
  state(): Exclude<RedisState, "stuck">;
  /** Another connection of the same settings but these, for what blocks or subscribes; closed with this one, like those made from it. */
  connect(options: ConnectionOptions): Redis;
}

export interface RedisStoreOptions {
  /** What every key begins with. */
  readonly prefix?: string;
  /** Told once when it stops answering, or does not answer at first. */
  readonly onAway: (error: Error) => void;
  /** Told once when it answers again. */
  readonly onBack: () => void;
  /** Told when one that is in use is set up in a way that loses jobs. */
  readonly onRefused: (error: ConcordatError) => void;
}

/**
 * Connects to Redis; one that does not answer is waited for in the background.
 * @throws {ConcordatError} `redis_evicts` when it answers and would drop keys of its own accord
 */
export async function openRedis(
  url: string,
  { prefix = "", onAway, onBack, onRefused }: RedisStoreOptions,
): Promise<OpenRedis> {
  const opened: Redis[] = [];
  let away = false;
  let evicts = false;
  const leave = (error: Error) => {
    if (!away) onAway(error);
    away = true;
  };
  const comeBack = () => {
    if (away) onBack();
    away = false;
  };
  const own = (client: Redis): Redis => {
    opened.push(client);
    // Nobody else listens, and what nobody listens for would end the process. It says nothing of Redis: only this one is lost.
    client.on("error", () => {});
    hideEvictionPolicy(client);
    const { duplicate } = client;
    // Whoever makes a connection of its own from this one may leave it trying for ever: it is closed here as well.
    client.duplicate = (override) => own(duplicate.call(client, override));
    return client;
  };
  const connect = (options: ConnectionOptions) =>
    own(new Redis(url, { connectTimeout: 2_000, disconnectTimeout: 200, retryStrategy: waitBeforeRetry, ...options }));
  const client = connect({ enableOfflineQueue: false, maxRetriesPerRequest: 1, commandTimeout: answerWithin });
  client.on("error", (error) => {
    if (client.status !== "ready") leave(error);
  });
  const probe = async (): Promise<void> => {
    if (client.status !== "ready") return;
    await client.set(`${prefix}probe`, "", "PX", settingsEvery).then(comeBack, leave);
  };
  const examine = async (): Promise<void> => {
    try {
      await requireNoEviction(client);
      evicts = false;
    } catch (error) {
      // One that gave no answer may still be set up as it was.
      if (!(error instanceof ConcordatError)) return;
      evicts = true;
      onRefused(error);
    }
  };
  const probing = setInterval(() => void probe(), probeEvery).unref();
  const examining = setInterval(() => {
    if (!away && client.status === "ready") void examine();
  }, settingsEvery).unref();
  const close = async () => {
    clearInterval(probing);
    clearInterval(examining);
    for (const one of opened) one.disconnect();
  };
  try {
    if (await becomesReady(client)) await requireNoEviction(client);
    else leave(new Error("Redis did not answer"));
  } catch (error) {
    await close();
    throw error;
  }
  client.on("ready", () => {
    void probe();
    // It may be another server than before.
    void examine();
  });
  const isReady = () => !away && client.status === "ready";
  return {
    client,
    connect,
    isReady,
    state: () => (isReady() ? (evicts ? "evicts" : "ok") : "unreachable"),
    [Symbol.asyncDispose]: close,
  };
}

const waitBeforeRetry = (times: number) => Math.min(100 * times, 1_000);

async function becomesReady(client: Redis): Promise<boolean> {
  if (client.status === "ready") return true;
  return await new Promise<boolean>((resolve) => {
    const late = setTimeout(() => resolve(false), patience);
    client.once("ready", () => {
      clearTimeout(late);
      resolve(true);
    });
  });
}

/**
 * BullMQ looks for the eviction policy in all that Redis says of itself, and prints its opinion beside the log. Here the
 * policy is asked for by its section, judged, and logged. BullMQ's `skipVersionCheck` is no way to silence it: the server
 * is taken for the oldest one then, and each wait for a delayed job rounded up to whole seconds.
 */
function hideEvictionPolicy(client: Redis): void {
  const info = client.info.bind(client) as (...sections: readonly string[]) => Promise<string>;
  client.info = (async (...sections: readonly string[]) => {
    const text = await info(...sections);
    return sections.length === 0 ? text.replace(/^maxmemory_policy:/m, "maxmemory_policy_judged_elsewhere:") : text;
  }) as typeof client.info;
}

/** A Redis that is full must say so, instead of dropping what waits in it. */
async function requireNoEviction(client: Redis): Promise<void> {
  const policy = /^maxmemory_policy:(\S+)/m.exec(await client.info("memory"))?.[1];
  if (policy === undefined || policy === "noeviction") return;
  throw new ConcordatError(
    "redis_evicts",
    `Redis at ${client.options.host}:${client.options.port} (CONCORDAT_REDIS_URL) has maxmemory-policy ${policy} and ` +
      "would drop keys when it is full: set it to noeviction.",
  );
}
