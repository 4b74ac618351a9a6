// time limit: 3600 s
import { noOwnServers, startOwnServers } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";
import { runWalk } from "./walk.ts";

const name = "random walk with a node of several processes";
const servers = await startOwnServers();
const test = servers === undefined ? skipSuite(name, noOwnServers) : suite(name);

test.after(async () => {
  await servers?.[Symbol.asyncDispose]();
});

test("1,000 steps, with processes and servers killed and frozen, end in the same state everywhere", async () => {
  const seed = Number(process.env.CONCORDAT_WALK_SEED ?? 1);
  const steps = Number(process.env.CONCORDAT_WALK_STEPS ?? 1_000);
  await runWalk({ steps, seed, servers, lookEvery: 200 });
});

test.run();
