/**
 * The scheduler port on BullMQ: any process wakes a lane, one worker of all drains it. A job names a lane and nothing
 * else; who may drain is decided by the lane's row, so that a job too many, or a forged one, does no harm.
 *
 * Times that lie ahead are jobs of their own which, when they are due, ask for a drain now: one job per lane would keep
 * the first time it was given and lose an earlier one.
 */
import { Queue, Worker } from "bullmq";
import { within } from "../within.ts";
import type { OpenRedis } from "./redis.ts";
import type { Scheduler } from "./scheduler.ts";
import { createTimerScheduler } from "./scheduler-timers.ts";

export interface BullmqSchedulerOptions {
  readonly clock: () => Date;
  /** What every key in Redis begins with. */
  readonly prefix: string;
  readonly onError: (error: unknown, lane: string | null) => void;
  /** Drains that run side by side in this process, each of another lane. */
  readonly concurrency?: number;
}

const queueName = "lanes";
/** A worker that was killed loses its jobs after this, and the next look for such jobs: before its leases run out, milliseconds. */
const lockDuration = 3_000;
const stalledInterval = 1_000;
/** How long one request for a job waits in Redis, seconds: what a stop may have to wait for. */
const drainDelay = 2;
/** Times ahead are rounded up to this, so that wakes for nearly the same moment are one job, milliseconds. */
const grain = 50;
/** What saying goodbye to Redis may take, and to one that does not answer, milliseconds. */
const goodbye = 1_500;
const goodbyeAway = 200;

interface LaneJob {
  readonly lane: string;
}

export function createBullmqScheduler(redis: OpenRedis, options: BullmqSchedulerOptions): Scheduler {
  const { clock, prefix, onError, concurrency = 16 } = options;
  const report = (error: unknown) => onError(error, null);
  const queue = new Queue<LaneJob>(queueName, {
    connection: redis.client,
    prefix: `${prefix}jobs`,
    // Never wait for a Redis that is away: a wake is a hint, and somebody's request is behind it.
    skipWaitingForReady: true,
  });
  queue.on("error", report);
  /** Drains by itself while Redis is away; in a process that drains nothing, the workers' sweepers find the lane. */
  const alone = createTimerScheduler({ clock, onError, concurrency });
  const adding = new Set<Promise<unknown>>();
  const draining = new Set<Promise<void>>();
  let worker: Worker<LaneJob> | undefined;
  let halted = false;
  let closed = false;

  const addJob = async (lane: string, delay: number): Promise<void> => {
    if (delay <= 0) {
      // A wake while the lane is drained leads to one more drain afterwards.
      await queue.add("drain", { lane }, { deduplication: { id: lane, keepLastIfActive: true } });
      return;
    }
    const due = Math.ceil((clock().getTime() + delay) / grain) * grain;
    await queue.add("wake", { lane }, { jobId: `${lane}@${due}`, delay: due - clock().getTime() });
  };

  const wake = (lane: string, at: Date = clock()): void => {
    if (closed) return;
    if (!redis.isReady()) {
      alone.wake(lane, at);
      return;
    }
    const added: Promise<void> = addJob(lane, at.getTime() - clock().getTime())
      .catch(() => alone.wake(lane, at))
      .finally(() => adding.delete(added));
    adding.add(added);
  };

  const runDrain = async (lane: string, drain: (lane: string) => Promise<void>): Promise<void> => {
    const run = (async () => {
      try {
        await drain(lane);
      } catch (error) {
        // Told, not thrown: a job never fails, the lane's row says what is to be tried again and when.
        onError(error, lane);
      }
    })();
    draining.add(run);
    await run.finally(() => draining.delete(run));
  };

  const halt = async (): Promise<void> => {
    halted = true;
    void worker?.pause(true).catch(() => {});
    await Promise.all([alone.halt(), ...draining]);
  };

  return {
    start(drain) {
      alone.start(drain);
      worker = new Worker<LaneJob>(
        queueName,
        async ({ name, data }) => {
          const lane: unknown = data?.lane;
          if (closed || typeof lane !== "string") return;
          // Taken in the moment of the halt: another process drains it.
          if (name === "wake" || halted) wake(lane);
          else await runDrain(lane, drain);
        },
        {
          connection: redis.connect({ maxRetriesPerRequest: null }),
          prefix: `${prefix}jobs`,
          concurrency,
          lockDuration,
          drainDelay,
          stalledInterval,
          // A job whose worker died is taken over however often that happens.
          maxStalledCount: Number.MAX_SAFE_INTEGER,
          runRetryDelay: 1_000,
          // What is done leaves nothing behind: a kept job would stand in the way of the next one for its lane.
          removeOnComplete: { count: 0 },
          removeOnFail: { count: 0 },
        },
      );
      worker.on("error", report);
    },
    wake,
    insist: (lane) => alone.wake(lane),
    halt,
    async [Symbol.asyncDispose]() {
      const drained = halt();
      closed = true;
      // A worker that waits for a Redis that is away would wait for ever, with timers that keep the process alive.
      const answers = redis.isReady() && (await redis.client.ping().catch(() => null)) !== null;
      const patience = answers ? goodbye : goodbyeAway;
      const closing = worker?.close(!answers);
      await drained;
      await within(patience, Promise.all([closing, ...adding]));
      await within(patience, queue.close());
    },
  };
}
