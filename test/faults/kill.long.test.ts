// time limit: 1800 s
import { freshDatabaseUrl, noPostgres } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";
import { runKills } from "./kill-runs.ts";

const seed = Number(process.env.CONCORDAT_TEST_SEED ?? Date.now() % 1_000_000_000);
const runs = [0, 1, 2];

const hasPostgres = (await freshDatabaseUrl()) !== undefined;

const embedded = suite("kill -9 while sharing, PGlite");
for (const run of runs) {
  embedded(`twelve kills lose nothing and double nothing, seed ${seed + run}`, () =>
    runKills({ store: "pglite", kills: 12, seed: seed + run }),
  );
}
embedded.run();

const name = "kill -9 while sharing, PostgreSQL";
const server = hasPostgres ? suite(name) : skipSuite(name, noPostgres);
for (const run of runs) {
  server(`twelve kills lose nothing and double nothing, seed ${seed + run}`, () =>
    runKills({ store: "postgres", kills: 12, seed: seed + run }),
  );
}
server.run();
