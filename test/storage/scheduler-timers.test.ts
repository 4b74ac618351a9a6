import * as assert from "uvu/assert";
import { createTimerScheduler } from "../../src/storage/scheduler-timers.ts";
import { describeScheduler } from "../conformance/scheduler.ts";
import { suite } from "../harness/suite.ts";

const test = suite("scheduler on timers");
const clock = () => new Date();

describeScheduler(test, async (onError) => createTimerScheduler({ clock, onError }));

test("runs no more drains side by side than it is told, and all of them in the end", async () => {
  const onError = (error: unknown) => {
    throw error;
  };
  await using scheduler = createTimerScheduler({ clock, onError, concurrency: 2 });
  let running = 0;
  let most = 0;
  const drained: string[] = [];
  await new Promise<void>((resolve) => {
    scheduler.start(async (lane) => {
      running += 1;
      most = Math.max(most, running);
      await new Promise((next) => setTimeout(next, 5));
      running -= 1;
      if (drained.push(lane) === 6) resolve();
    });
    for (const lane of "abcdef") scheduler.wake(lane);
  });
  assert.is(most, 2);
  assert.equal(drained.sort(), [..."abcdef"]);
});

test.run();
