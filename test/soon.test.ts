import * as assert from "uvu/assert";
import { createSoon } from "../src/soon.ts";
import { suite } from "./harness/suite.ts";
import { pause, until } from "./harness/until.ts";

const test = suite("work that is done soon");
const rethrow = (error: unknown) => {
  throw error;
};

/** Work that counts its runs, each of which ends when it is told to. */
function askForHeld() {
  const work = { runs: 0, finish: () => {} };
  const run = () => {
    work.runs += 1;
    return new Promise<void>((resolve) => {
      work.finish = resolve;
    });
  };
  return { ask: createSoon(run, { interval: 1, onError: rethrow }), work };
}

test("is done once for all who asked before it began, and again for who asked after that", async () => {
  const { ask, work } = askForHeld();
  ask();
  ask();
  await until("it runs", () => work.runs === 1);
  ask();
  ask();
  work.finish();
  await until("it runs again", () => work.runs === 2);
  work.finish();
  await pause(20);
  assert.is(work.runs, 2);
});

test("goes on after a failure, and tells of it", async () => {
  const errors: unknown[] = [];
  const failure = new Error("no");
  const ask = createSoon(() => Promise.reject(failure), { interval: 1, onError: (error) => errors.push(error) });
  ask();
  await until("it failed", () => errors.length === 1);
  ask();
  await until("it failed again", () => errors.length === 2);
  assert.equal(errors, [failure, failure]);
});

test("is begun no more once it is disposed, which waits for what is under way", async () => {
  const { ask, work } = askForHeld();
  ask();
  await until("it runs", () => work.runs === 1);
  ask();
  let disposed = false;
  const disposing = ask[Symbol.asyncDispose]().then(() => {
    disposed = true;
  });
  await pause(5);
  assert.is(disposed, false);
  work.finish();
  await disposing;
  ask();
  await pause(20);
  assert.is(work.runs, 1);
});

test.run();
