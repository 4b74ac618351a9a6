import { freshDatabaseUrl, noPostgres } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";
import { runKills } from "./kill-runs.ts";

const hasPostgres = (await freshDatabaseUrl()) !== undefined;

const embedded = suite("kill -9 while sharing, PGlite");
embedded("four kills of sender or receiver lose nothing and double nothing", () =>
  runKills({ store: "pglite", kills: 4, seed: 20261126 }),
);
embedded.run();

const name = "kill -9 while sharing, PostgreSQL";
const server = hasPostgres ? suite(name) : skipSuite(name, noPostgres);
server("three kills of sender or receiver lose nothing and double nothing", () =>
  runKills({ store: "postgres", kills: 3, seed: 20261127 }),
);
server.run();
