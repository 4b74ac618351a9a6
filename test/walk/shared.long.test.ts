// time limit: 3600 s
import { freshDatabaseUrl, noPostgres, noRedis, redisSettings } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";
import { runWalk } from "./walk.ts";

const name = "random walk with a node of several processes";
const hasPostgres = (await freshDatabaseUrl()) !== undefined;
const hasRedis = (await redisSettings()) !== undefined;
const test = hasPostgres && hasRedis ? suite(name) : skipSuite(name, hasPostgres ? noRedis : noPostgres);

test("1,000 steps, with processes killed and stores gone, end in the same state everywhere", async () => {
  const seed = Number(process.env.CONCORDAT_WALK_SEED ?? 1);
  const steps = Number(process.env.CONCORDAT_WALK_STEPS ?? 1_000);
  await runWalk({ steps, seed, shared: true, lookEvery: 200 });
});

test.run();
