/** The scheduler port on the timers of this process. */
import { longestDelay } from "../within.ts";
import type { Scheduler } from "./scheduler.ts";

export interface TimerSchedulerOptions {
  readonly clock: () => Date;
  /** Told what a drain threw; the lane is woken again by whoever knows when, at the latest by the sweeper. */
  readonly onError: (error: unknown, lane: string) => void;
  /** Drains that run side by side, each of another lane. */
  readonly concurrency?: number;
}

/** A lane with something to do; it is forgotten when there is nothing. */
interface Lane {
  /** When to drain next (milliseconds since 1970); undefined while nobody asked. */
  due: number | undefined;
  timer: NodeJS.Timeout | undefined;
  running: boolean;
}

export function createTimerScheduler({ clock, onError, concurrency = 16 }: TimerSchedulerOptions): Scheduler {
  const lanes = new Map<string, Lane>();
  /** Lanes that are due and wait for a free place, first come first served. */
  const ready = new Set<string>();
  const running = new Set<Promise<void>>();
  let drain: ((lane: string) => Promise<void>) | undefined;
  let halted = false;

  /** Sets the timer for what the lane waits for, or puts it among the ready ones. */
  const plan = (name: string, lane: Lane): void => {
    clearTimeout(lane.timer);
    if (lane.due === undefined || lane.running || halted || drain === undefined) return;
    const delay = lane.due - clock().getTime();
    if (delay > 0) {
      lane.timer = setTimeout(() => plan(name, lane), Math.min(delay, longestDelay));
      return;
    }
    ready.add(name);
    fill();
  };

  const fill = (): void => {
    for (const name of ready) {
      if (running.size >= concurrency || halted) return;
      ready.delete(name);
      const run: Promise<void> = runDrain(name).finally(() => {
        running.delete(run);
        fill();
      });
      running.add(run);
    }
  };

  const runDrain = async (name: string): Promise<void> => {
    const lane = lanes.get(name);
    if (lane === undefined || drain === undefined) return;
    lane.running = true;
    lane.due = undefined;
    try {
      // Never inside the wake that asked for it.
      await Promise.resolve();
      await drain(name);
    } catch (error) {
      onError(error, name);
    } finally {
      lane.running = false;
      if (lane.due === undefined) lanes.delete(name);
      else plan(name, lane);
    }
  };

  const wake = (name: string, at = clock()): void => {
    if (halted) return;
    const lane = lanes.get(name) ?? { due: undefined, timer: undefined, running: false };
    lanes.set(name, lane);
    if (lane.due !== undefined && lane.due <= at.getTime()) return;
    lane.due = at.getTime();
    plan(name, lane);
  };
  const halt = async (): Promise<void> => {
    halted = true;
    for (const lane of lanes.values()) clearTimeout(lane.timer);
    await Promise.all(running);
  };

  return {
    start(startedDrain) {
      drain = startedDrain;
      for (const [name, lane] of lanes) plan(name, lane);
    },
    wake,
    insist: (name) => wake(name),
    halt,
    [Symbol.asyncDispose]: halt,
  };
}
