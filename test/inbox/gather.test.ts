import * as assert from "uvu/assert";
import { Problem } from "../../src/errors.ts";
import { createGathering } from "../../src/inbox/gather.ts";
import { suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

const test = suite("gathering");

/** A run that ends when it is told to. */
function held() {
  const runs: { readonly items: readonly number[]; readonly end: () => void }[] = [];
  const run = (items: readonly number[]) =>
    new Promise<readonly number[]>((resolve) =>
      runs.push({ items, end: () => resolve(items.map((item) => item * 2)) }),
    );
  return { runs, run };
}
const turn = () => new Promise((resolve) => setImmediate(resolve));

test("does together what comes in one turn, and gives each its result", async () => {
  const { runs, run } = held();
  const double = createGathering({ run });
  const results = Promise.all([double(1), double(2), double(3)]);
  await turn();
  runs[0]?.end();
  assert.equal(await results, [2, 4, 6]);
  assert.is(runs.length, 1);
});

test("lets what comes during a run wait for the next one, at most so many at a time", async () => {
  const { runs, run } = held();
  const double = createGathering({ run, most: 2 });
  const first = double(1);
  await turn();
  const others = [double(2), double(3), double(4)];
  await turn();
  for (let at = 0; at < 3; at += 1) {
    runs[at]?.end();
    await turn();
  }
  assert.is(await first, 2);
  assert.equal(await Promise.all(others), [4, 6, 8]);
  assert.equal(
    runs.map(({ items }) => items),
    [[1], [2, 3], [4]],
  );
});

test("lets nobody wait long for a run that does not end", async () => {
  const { runs, run } = held();
  const double = createGathering({ run });
  const stuck = double(1);
  await turn();
  const later = double(2);
  await until("the next run has begun", () => runs.length === 2);
  runs[1]?.end();
  assert.is(await later, 4);
  runs[0]?.end();
  assert.is(await stuck, 2);
});

test("throws what a run throws to all of it, and goes on", async () => {
  const half = createGathering<number, number>({
    run: async (items) => {
      if (items.includes(0)) throw new Error("zero");
      return items;
    },
  });
  const outcomes = await Promise.allSettled([half(0), half(1)]);
  assert.equal(
    outcomes.map(({ status }) => status),
    ["rejected", "rejected"],
  );
  assert.is(await half(1), 1);
});

test("fails one alone where its result is a promise that is rejected", async () => {
  const single = createGathering<number, number>({
    run: async (items) => items.map((item) => (item === 0 ? Promise.reject(new Error("zero")) : item)),
  });
  const [bad, good] = await Promise.allSettled([single(0), single(1)]);
  assert.is(bad?.status, "rejected");
  assert.is(good?.status, "fulfilled");
});

test("refuses what would go beyond its bound, until there is room again", async () => {
  const { runs, run } = held();
  const double = createGathering({ run, bound: { weighs: (item) => item, greatest: 10 } });
  const held6 = double(6);
  await turn();
  try {
    await double(5);
    assert.unreachable();
  } catch (error) {
    assert.instance(error, Problem);
    assert.is((error as Problem).code, "unavailable");
    assert.type((error as Problem).members.retry_after, "number");
  }
  const fits = double(4);
  runs[0]?.end();
  await held6;
  await turn();
  runs[1]?.end();
  assert.is(await fits, 8);
  const later = double(10);
  await turn();
  runs[2]?.end();
  assert.is(await later, 20);
});

test("gives up a call that waits too long, which goes in no run then, or keeps its place in the one that it is in", async () => {
  const { runs, run } = held();
  const bound = { weighs: (item: number) => item, greatest: 10 };
  const double = createGathering({ run, most: 1, bound, answerWithin: 50 });
  const codeOf = (call: Promise<number>) => call.catch((error: unknown) => (error as Problem).code);
  // A run begins every 100 ms: the second waits for its own, and does not live to see it.
  const calls = [double(1), double(9)].map(codeOf);
  assert.equal(await Promise.all(calls), ["unavailable", "unavailable"]);
  assert.equal(
    runs.map(({ items }) => items),
    [[1]],
  );
  assert.is(await codeOf(double(10)), "unavailable", "the first one is still in its run");
  runs[0]?.end();
  await turn();
  void codeOf(double(10));
  await until("there is room, and the next run has begun", () => runs.length === 2);
  runs[1]?.end();
});

test.run();
