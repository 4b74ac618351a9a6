/**
 * The scheduler port on BullMQ: any process wakes a lane, one worker of all drains it. A job names a lane and nothing
 * else; who may drain is decided by the lane's row, so that a job too many, or a forged one, does no harm. Where jobs are
 * not taken, this process drains by itself what it would wake.
 *
 * Times that lie ahead are jobs of their own which, when they are due, ask for a drain now: one job per lane would keep
 * the first time it was given and lose an earlier one.
 */
import { Queue, Worker } from "bullmq";
import { within } from "../within.ts";
import { type QueueWatch, type Standstill, watchJob, watchQueue } from "./queue-watch.ts";
import type { OpenRedis } from "./redis.ts";
import type { Scheduler } from "./scheduler.ts";
import { createTimerScheduler } from "./scheduler-timers.ts";

export interface BullmqSchedulerOptions {
  readonly clock: () => Date;
  /** What every key in Redis begins with. */
  readonly prefix: string;
  readonly onError: (error: unknown, lane: string) => void;
  /** Whether a job may name that lane: anybody who reaches Redis writes jobs. */
  readonly isLane: (name: string) => boolean;
  /** Told of each job that names no lane. */
  readonly onStrangeJob: () => void;
  /** Told once when jobs are not taken any more, and once when they are again, by a process that drains. */
  readonly onStuck: (why: Standstill) => void;
  readonly onTaken: () => void;
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

export interface BullmqScheduler extends Scheduler {
  /** Whether jobs lie in Redis and are not taken, as far as a process that drains can tell. */
  readonly stuck: boolean;
}

export function createBullmqScheduler(redis: OpenRedis, options: BullmqSchedulerOptions): BullmqScheduler {
  const { clock, prefix, onError, isLane, onStrangeJob, onStuck, onTaken, concurrency = 16 } = options;
  // It speaks of its connection, which speaks for itself, and of a queue that stands still.
  const note = (error: unknown) => watch?.note(error);
  const queue = new Queue<LaneJob | null>(queueName, {
    connection: redis.client,
    prefix: `${prefix}jobs`,
    // Never wait for a Redis that is away: a wake is a hint, and somebody's request is behind it.
    skipWaitingForReady: true,
  });
  queue.on("error", note);
  /** Drains by itself what Redis does not have drained. */
  const alone = createTimerScheduler({ clock, onError, concurrency });
  const adding = new Set<Promise<unknown>>();
  const draining = new Set<Promise<void>>();
  let worker: Worker<LaneJob | null> | undefined;
  let watch: QueueWatch | undefined;
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

  /** In a process that drains nothing, the workers' sweepers find the lane. */
  const wakeHere = (lane: string, at: Date): void => {
    if (worker !== undefined) alone.wake(lane, at);
  };

  const wake = (lane: string, at: Date = clock()): void => {
    if (closed) return;
    if (!redis.isReady() || watch?.stuck) {
      wakeHere(lane, at);
      return;
    }
    const added: Promise<void> = addJob(lane, at.getTime() - clock().getTime())
      .catch((error: unknown) => {
        note(error);
        // Of a job that was added by half it would be left, and keep those away that come after.
        void queue.removeDeduplicationKey(lane).catch(() => {});
        wakeHere(lane, at);
      })
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
    watch?.stop();
    void worker?.pause(true).catch(() => {});
    await Promise.all([alone.halt(), ...draining]);
  };

  return {
    get stuck() {
      return watch?.stuck === true;
    },
    start(drain) {
      alone.start(drain);
      worker = new Worker<LaneJob | null>(
        queueName,
        async ({ name, data }) => {
          if (closed || name === watchJob) return;
          const lane: unknown = data?.lane;
          if (typeof lane !== "string" || !isLane(lane)) return onStrangeJob();
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
          // A limit is none of ours; what somebody took away again counts soon.
          maximumRateLimitDelay: 1_000,
          // A job whose worker died is taken over however often that happens.
          maxStalledCount: Number.MAX_SAFE_INTEGER,
          runRetryDelay: 1_000,
          // What is done leaves nothing behind: a kept job would stand in the way of the next one for its lane.
          removeOnComplete: { count: 0 },
          removeOnFail: { count: 0 },
        },
      );
      worker.on("error", note);
      const canTell = () => redis.isReady() && draining.size < concurrency;
      watch = watchQueue(queue, { client: redis.client, canTell, onStuck, onTaken });
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
