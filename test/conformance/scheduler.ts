import * as assert from "uvu/assert";
import type { Scheduler } from "../../src/storage/scheduler.ts";
import type { Suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

export type OpenScheduler = (onError: (error: unknown) => void) => Promise<Scheduler>;

/** What every adapter of the scheduler port must do. */
export function describeScheduler(test: Suite, open: OpenScheduler): void {
  test("drains a lane that was woken", async () => {
    await using scheduler = await open(rethrow);
    const drains = record();
    scheduler.start(drains.drain);
    scheduler.wake("a");
    await drains.count(1);
    assert.equal(drains.lanes, ["a"]);
  });

  test("honours wakes that came before the start", async () => {
    await using scheduler = await open(rethrow);
    const drains = record();
    scheduler.wake("a");
    scheduler.start(drains.drain);
    await drains.count(1);
  });

  test("drains once for many wakes at once", async () => {
    await using scheduler = await open(rethrow);
    const drains = record();
    scheduler.start(drains.drain);
    const soon = new Date(Date.now() + 50);
    for (let n = 0; n < 20; n += 1) scheduler.wake("a", soon);
    await drains.count(1);
    await settle(scheduler, drains);
    assert.equal(
      drains.lanes.filter((lane) => lane === "a"),
      ["a"],
    );
  });

  test("drains no earlier than asked", async () => {
    await using scheduler = await open(rethrow);
    const drains = record();
    scheduler.start(drains.drain);
    const at = Date.now() + 200;
    scheduler.wake("a", new Date(at));
    await drains.count(1);
    assert.ok(Date.now() >= at);
  });

  test("lets an earlier time replace a later one", async () => {
    await using scheduler = await open(rethrow);
    const drains = record();
    scheduler.start(drains.drain);
    scheduler.wake("a", inHours(1));
    scheduler.wake("a");
    await drains.count(1);
  });

  test("lets an earlier time replace a later one though it lies ahead as well", async () => {
    await using scheduler = await open(rethrow);
    const drains = record();
    scheduler.start(drains.drain);
    scheduler.wake("a", inHours(1));
    scheduler.wake("a", new Date(Date.now() + 500));
    await until("a drain", () => drains.lanes.length > 0);
  });

  test("lets no later time delay an earlier one", async () => {
    await using scheduler = await open(rethrow);
    const drains = record();
    scheduler.start(drains.drain);
    scheduler.wake("a", new Date(Date.now() + 100));
    scheduler.wake("a", inHours(1));
    await drains.count(1);
  });

  test("waits for times beyond 2^31 milliseconds", async () => {
    await using scheduler = await open(rethrow);
    const drains = record();
    scheduler.start(drains.drain);
    scheduler.wake("far", new Date(Date.now() + 2 ** 31 + 60_000));
    await settle(scheduler, drains);
    assert.not(drains.lanes.includes("far"));
  });

  test("runs one drain of a lane at a time, and another one for a wake meanwhile", async () => {
    await using scheduler = await open(rethrow);
    const gate = createGate();
    let running = 0;
    let most = 0;
    const drains = record(async () => {
      running += 1;
      most = Math.max(most, running);
      await gate.opened;
      running -= 1;
    });
    scheduler.start(drains.drain);
    scheduler.wake("a");
    await drains.count(1);
    scheduler.wake("a");
    scheduler.wake("a");
    gate.open();
    await drains.count(2);
    await settle(scheduler, drains);
    assert.is(most, 1);
    assert.is(drains.lanes.filter((lane) => lane === "a").length, 2);
  });

  test("drains at once what is insisted on", async () => {
    await using scheduler = await open(rethrow);
    const drains = record();
    scheduler.start(drains.drain);
    scheduler.wake("a", new Date(Date.now() + 3_600_000));
    scheduler.insist("a");
    await drains.count(1);
  });

  test("begins no drain once it is halted; what runs goes on", async () => {
    const scheduler = await open(rethrow);
    const gate = createGate();
    let finished = false;
    const drains = record(async () => {
      await gate.opened;
      finished = true;
    });
    scheduler.start(drains.drain);
    scheduler.wake("a");
    await drains.count(1);
    void scheduler.halt();
    scheduler.wake("a");
    scheduler.wake("b");
    scheduler.insist("c");
    gate.open();
    await scheduler[Symbol.asyncDispose]();
    assert.is(finished, true);
    assert.equal(drains.lanes, ["a"]);
  });

  test("runs lanes side by side", async () => {
    await using scheduler = await open(rethrow);
    const gate = createGate();
    const drains = record(() => gate.opened);
    scheduler.start(drains.drain);
    scheduler.wake("a");
    scheduler.wake("b");
    await drains.count(2);
    gate.open();
  });

  test("goes on after a drain that throws, and reports it", async () => {
    const errors: unknown[] = [];
    await using scheduler = await open((error) => errors.push(error));
    const thrown = new Error("this drain fails");
    const drains = record(async (lane) => {
      if (lane === "bad") throw thrown;
    });
    scheduler.start(drains.drain);
    scheduler.wake("bad");
    await drains.count(1);
    scheduler.wake("bad");
    await drains.count(2);
    scheduler.wake("good");
    await drains.count(3);
    assert.equal(drains.lanes, ["bad", "bad", "good"]);
    assert.ok(errors.includes(thrown));
  });

  test("waits for running drains when it is disposed, and starts none afterwards", async () => {
    const scheduler = await open(rethrow);
    const gate = createGate();
    let finished = false;
    const drains = record(async () => {
      await gate.opened;
      finished = true;
    });
    scheduler.start(drains.drain);
    scheduler.wake("a");
    await drains.count(1);
    scheduler.wake("a");
    scheduler.wake("b", inHours(1));
    const disposed = scheduler[Symbol.asyncDispose]();
    gate.open();
    await disposed;
    assert.is(finished, true);
    scheduler.wake("c");
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.equal(drains.lanes, ["a"]);
  });
}

function rethrow(error: unknown): never {
  throw error;
}

function inHours(hours: number): Date {
  return new Date(Date.now() + hours * 3_600_000);
}

/** Remembers drains and lets a test wait for the n-th to begin. */
function record(run: (lane: string) => Promise<void> = async () => {}) {
  const lanes: string[] = [];
  const waiting: { readonly count: number; readonly resolve: () => void }[] = [];
  return {
    lanes,
    async drain(lane: string): Promise<void> {
      lanes.push(lane);
      for (const { count, resolve } of waiting) if (lanes.length >= count) resolve();
      await run(lane);
    },
    count: (count: number) =>
      new Promise<void>((resolve) => {
        if (lanes.length >= count) resolve();
        else waiting.push({ count, resolve });
      }),
  };
}

/** Waits until what was asked for now has run: a wake of another lane that was drained after it. */
async function settle(scheduler: Scheduler, drains: ReturnType<typeof record>): Promise<void> {
  const next = drains.lanes.length + 1;
  scheduler.wake("settle", new Date(Date.now() + 150));
  await drains.count(next);
}

function createGate() {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}
