// time limit: 150 s
import { suite } from "../harness/suite.ts";
import { runWalk } from "./walk.ts";

const test = suite("random walk");

test("thirty steps over three nodes end in the same state everywhere", async () => {
  const seed = Number(process.env.CONCORDAT_WALK_SEED ?? 20261126);
  await runWalk({ steps: Number(process.env.CONCORDAT_WALK_STEPS ?? 30), seed });
});

test.run();
