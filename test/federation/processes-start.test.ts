import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { readConfig } from "../../src/config.ts";
import { exportNodeKeys, makeNodeKeys } from "../../src/identity/node-keys.ts";
import { createNode } from "../../src/node.ts";
import { freePort } from "../harness/free-port.ts";
import { logIn } from "../harness/rest.ts";
import { freshDatabaseUrl, noPostgres, noRedis, redisSettings } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";

/** The first start of a node whose processes all come up at the same time, as containers do. */
const databaseUrl = await freshDatabaseUrl();
const redis = await redisSettings();
const missing = databaseUrl === undefined ? noPostgres : redis === undefined ? noRedis : undefined;
const name = "processes of one node that start together";
const test = missing === undefined ? suite(name) : skipSuite(name, missing);

const password = "not-a-secret-in-a-test";
let directory: string;
let shared: Readonly<Record<string, string>>;

test.before(async () => {
  directory = await mkdtemp(join(tmpdir(), "concordat-start-"));
  const port = await freePort();
  shared = {
    CONCORDAT_ORIGIN: `http://127.0.0.1:${port}`,
    CONCORDAT_NODE_KEYS: exportNodeKeys(await makeNodeKeys()),
    CONCORDAT_DATABASE_URL: databaseUrl ?? "",
    CONCORDAT_REDIS_URL: redis?.url ?? "",
    CONCORDAT_REDIS_PREFIX: `${redis?.prefix}start${port}:`,
    CONCORDAT_ADMIN_PASSWORD: password,
    CONCORDAT_LOG_LEVEL: "silent",
  };
});
test.after(() => rm(directory, { recursive: true }));

const start = async (which: string, settings: Readonly<Record<string, string>>) => {
  const listen = { CONCORDAT_LISTEN: `127.0.0.1:${await freePort()}`, CONCORDAT_DATA_DIR: join(directory, which) };
  return await createNode(readConfig({ ...shared, ...listen, ...settings }, { cwd: directory }));
};

test("make one administrator, measure themselves each, and admit none beside them without Redis", async () => {
  const metrics = await freePort();
  const starts = await Promise.allSettled([
    start("web-1", { CONCORDAT_ROLE: "web" }),
    start("web-2", { CONCORDAT_ROLE: "web" }),
    start("worker-1", { CONCORDAT_ROLE: "worker", CONCORDAT_METRICS_PORT: String(metrics) }),
    start("worker-2", { CONCORDAT_ROLE: "worker" }),
  ]);
  try {
    const nodes = starts.map((one) => {
      if (one.status === "rejected") throw one.reason;
      return one.value;
    });
    const port = nodes[0]?.address.port;
    assert.ok((await logIn(`http://127.0.0.1:${port}`, "admin", password)).token);
    const measured = await (await fetch(`http://127.0.0.1:${metrics}/metrics`)).text();
    assert.match(measured, /^concordat_info\{version="[^"]+",role="worker"\} 1$/m);
    assert.match(measured, /^concordat_redis_up 1$/m);

    const refused = await start("alone", { CONCORDAT_REDIS_URL: "" }).then(
      async (node) => {
        await node.close();
        return null;
      },
      (reason: { readonly code?: unknown }) => reason,
    );
    assert.is(refused?.code, "database_in_use");
  } finally {
    await Promise.all(starts.map((one) => (one.status === "fulfilled" ? one.value.close() : undefined)));
  }
});

test.run();
