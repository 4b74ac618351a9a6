/**
 * Sees whether what lies in a queue is taken: a job of its own is laid there again and again, which any worker takes. A
 * queue may stand still though Redis works: paused or limited by somebody, or with a key that is none of BullMQ's.
 */
import { randomUUID } from "node:crypto";
import type { Queue } from "bullmq";
import type { Redis } from "ioredis";

export interface Standstill {
  /** Whether somebody had paused the queue; it was resumed. */
  readonly paused: boolean;
  /** What BullMQ said of it at last, if anything. */
  readonly error: unknown;
}

export interface QueueWatchOptions {
  /** Of the Redis that the queue is in. */
  readonly client: Redis;
  /** False while nothing can be said of the queue: Redis is away, or this process is busy with what it has taken. */
  readonly canTell: () => boolean;
  /** Told once when a job lies there for too long. */
  readonly onStuck: (why: Standstill) => void;
  /** Told once when jobs are taken again. */
  readonly onTaken: () => void;
}

export interface QueueWatch {
  readonly stuck: boolean;
  /** Remembers what may be the reason. */
  note(error: unknown): void;
  stop(): void;
}

/** What the job is called: it wakes nobody. */
export const watchJob = "watch";
/** How often it looks, and how long a job may lie there, milliseconds. */
const lookEvery = 1_000;
const patience = 5_000;

export function watchQueue(queue: Queue, { client, canTell, onStuck, onTaken }: QueueWatchOptions): QueueWatch {
  const jobId = `watch@${randomUUID()}`;
  /** Whether a job was laid that was not seen to be taken, and since when it is, or should be, there. */
  let laid = false;
  let since: number | undefined;
  let stuck = false;
  let reason: unknown;

  const look = async (): Promise<void> => {
    if (!canTell()) {
      since = undefined;
      return;
    }
    const now = performance.now();
    try {
      if (laid && (await queue.getJob(jobId)) === undefined) {
        laid = false;
        // One that was taken late says only that the queue is slow.
        if (now - (since ?? now) <= patience) {
          if (stuck) onTaken();
          stuck = false;
          reason = undefined;
        }
        since = undefined;
      }
      since ??= now;
      if (!laid) await queue.add(watchJob, null, { jobId });
      laid = true;
    } catch (error) {
      since ??= now;
      reason = error;
      await takeBack();
    }
    if (now - since > patience) await release();
  };

  /** What was laid by half would stand in the way of the next one for ever. */
  const takeBack = async (): Promise<void> => {
    laid = false;
    await queue
      .remove(jobId)
      .catch(() => client.del(queue.toKey(jobId)))
      .catch(() => {});
  };

  /** A job is but a wake: nobody has a reason to pause them. */
  const release = async (): Promise<void> => {
    const paused = await queue.isPaused().catch(() => false);
    if (paused) await queue.resume().catch(() => {});
    if (!stuck) onStuck({ paused, error: reason });
    stuck = true;
  };

  let looking = false;
  const looks = setInterval(() => {
    if (looking) return;
    looking = true;
    void look().finally(() => {
      looking = false;
    });
  }, lookEvery).unref();

  return {
    get stuck() {
      return stuck;
    },
    note(error) {
      reason = error;
    },
    stop: () => clearInterval(looks),
  };
}
