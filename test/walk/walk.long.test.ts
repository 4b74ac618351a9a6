// time limit: 3600 s
import { suite } from "../harness/suite.ts";
import { runWalk } from "./walk.ts";

const test = suite("random walk of 2,000 steps");

test("2,000 steps over three nodes end in the same state everywhere, looked at every 200", async () => {
  const seed = Number(process.env.CONCORDAT_WALK_SEED ?? 1);
  await runWalk({ steps: Number(process.env.CONCORDAT_WALK_STEPS ?? 2_000), seed, lookEvery: 200 });
});

test.run();
