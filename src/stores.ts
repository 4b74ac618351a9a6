/** The stores of a node, as its settings choose them: the database says where the truth lives, Redis that processes share it. */
import { join } from "node:path";
import type { Config } from "./config.ts";
import type { ConcordatError } from "./errors.ts";
import { isUuid } from "./protocol/ids.ts";
import { type Database, openDatabase } from "./storage/database.ts";
import type { KeyValue } from "./storage/key-value.ts";
import { openLevelKeyValue } from "./storage/key-value-level.ts";
import { createRedisKeyValue } from "./storage/key-value-redis.ts";
import { claimPostgres } from "./storage/postgres-claim.ts";
import { openRedis, type RedisState } from "./storage/redis.ts";
import type { Scheduler } from "./storage/scheduler.ts";
import { createBullmqScheduler } from "./storage/scheduler-bullmq.ts";
import { createTimerScheduler } from "./storage/scheduler-timers.ts";
import { createLocalSignals, type Signals } from "./storage/signals.ts";
import { createRedisSignals } from "./storage/signals-redis.ts";
import type { Log } from "./telemetry/log.ts";

export interface Stores extends AsyncDisposable {
  readonly database: Database;
  readonly keyValue: KeyValue;
  readonly scheduler: Scheduler;
  readonly signals: Signals;
  /** How it is with Redis; absent in a node without one. */
  readonly redis?: RedisReading;
  /** Whether this process serves its database alone. */
  readonly alone: boolean;
}

export interface RedisReading {
  /** As it is now. */
  readonly state: () => RedisState;
  /** How many jobs were found there that are none of the node's. */
  readonly strangeJobs: () => number;
}

export interface StoresContext {
  readonly clock: () => Date;
  readonly log: Log;
}

interface Opening extends StoresContext {
  /** Keeps what was opened, to be closed in reverse. */
  readonly open: <T extends AsyncDisposable>(part: T) => T;
}

/**
 * Opens the stores of `config`, whose data directory exists, and brings the schema up to date. They close in reverse: the
 * database first, so that nothing works on it any more when its claim and the directory's lock are given up, and no drain
 * is waited for that it does not answer.
 * @throws {ConcordatError} `data_directory_in_use`, `database_in_use`, `database_unreachable`, `schema_newer`, `redis_evicts`
 */
export async function openStores(config: Config, context: StoresContext): Promise<Stores> {
  const opened: AsyncDisposable[] = [];
  const close = async () => {
    for (let part = opened.pop(); part; part = opened.pop()) await part[Symbol.asyncDispose]();
  };
  const open = <T extends AsyncDisposable>(part: T): T => {
    opened.push(part);
    return part;
  };
  const opening = { ...context, open };
  try {
    const stores =
      config.redisUrl === undefined
        ? await openAlone(config, opening)
        : await openShared(config, config.redisUrl, opening);
    return { ...stores, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

type Opened = Omit<Stores, keyof AsyncDisposable>;

async function openAlone(config: Config, { clock, log, open }: Opening): Promise<Opened> {
  // The key-value store's lock comes first: a data directory serves one process.
  const keyValue = open(await openLevelKeyValue(join(config.dataDir, "key-value"), { clock }));
  const signals = open(createLocalSignals());
  const onError = (error: unknown, lane: string) => log.error({ err: error, lane }, "draining a lane failed");
  const scheduler = open(createTimerScheduler({ clock, onError }));
  const database = await openClaimed(config, { clock, log, open });
  return { database, keyValue, signals, scheduler, alone: true };
}

async function openShared(config: Config, url: string, { clock, log, open }: Opening): Promise<Opened> {
  const redis = open(
    await openRedis(url, {
      prefix: config.redisPrefix,
      onAway: (error) => log.warn({ err: error }, "Redis is away: this process counts, drains and looks for itself"),
      onBack: () => log.info("Redis is back"),
      onRefused: (error) => log.error({ err: error }, "Redis is not set up as it must be"),
    }),
  );
  const prefix = config.redisPrefix;
  const keyValue = open(createRedisKeyValue(redis, { clock, prefix: `${prefix}key-value:` }));
  const signals = open(createRedisSignals(redis, { prefix: `${prefix}signals:` }));
  let strange = 0;
  const scheduler = open(
    createBullmqScheduler(redis, {
      clock,
      prefix,
      isLane: isUuid,
      onError: (error, lane) => log.error({ err: error, lane }, "draining a lane failed"),
      onStuck: ({ paused, error }) =>
        log.error(
          { paused, err: error, keys: `${prefix}jobs:*` },
          "wakes in Redis are not taken: this process looks for what is due. A pause was ended; else delete these keys, which loses nothing",
        ),
      onTaken: () => log.info("wakes in Redis are taken again"),
      onStrangeJob: () => {
        strange += 1;
        if (strange === 1) log.warn("a job in Redis is none of the node's; this one and others are counted");
      },
    }),
  );
  const database = await openClaimed(config, { clock, log, open });
  const state = () => {
    const ofRedis = redis.state();
    return ofRedis !== "unreachable" && scheduler.stuck ? "stuck" : ofRedis;
  };
  return { database, keyValue, signals, scheduler, redis: { state, strangeJobs: () => strange }, alone: false };
}

async function openClaimed(config: Config, { log, open }: Opening): Promise<Database> {
  const { databaseUrl: url, redisUrl } = config;
  // Before the migrations: they must not change what another process works on.
  if (url !== undefined) {
    open(await claimPostgres(url, { shared: redisUrl !== undefined, onTaken: endBy(log) }));
  }
  return open(await openDatabase({ url, dataDir: join(config.dataDir, "database") }));
}

/** Ends the process at once: every moment more would be one in which two nodes work on one database. */
function endBy(log: Log) {
  return (error: ConcordatError) => {
    log.fatal({ err: error }, "another process took the database over; this one ends");
    setImmediate(() => {
      throw error;
    });
  };
}
