import * as assert from "uvu/assert";
import { inPace } from "../src/pace.ts";
import { suite } from "./harness/suite.ts";

const test = suite("pace");

/** Holds the thread, as parsing does. */
function work(milliseconds: number): void {
  for (const end = performance.now() + milliseconds; performance.now() < end; );
}

test("divides what comes at once among turns of the event loop, in its order", async () => {
  const done: number[] = [];
  const turns: number[] = [];
  let over = false;
  const turn = () => {
    turns.push(done.length);
    if (!over) setImmediate(turn);
  };
  setImmediate(turn);
  await Promise.all(
    Array.from({ length: 20 }, async (_, number) => {
      await inPace();
      work(5);
      done.push(number);
    }),
  );
  over = true;
  turns.push(done.length);
  assert.equal(
    done,
    Array.from({ length: 20 }, (_, number) => number),
  );
  const most = Math.max(...turns.map((after, at) => after - (turns[at - 1] ?? 0)));
  assert.ok(most <= 3, `${most} of 20 in one turn`);
});

test("lets what is little begin in the turn in which it comes", async () => {
  await new Promise(setImmediate);
  let began = false;
  setImmediate(() => {
    began = true;
  });
  for (let times = 0; times < 3; times += 1) await inPace();
  assert.is(began, false);
});

test.run();
