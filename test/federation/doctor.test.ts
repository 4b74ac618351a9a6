import { execFile } from "node:child_process";
import { chmod, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { readConfig } from "../../src/config.ts";
import { examineNode } from "../../src/doctor/examine.ts";
import type { Finding } from "../../src/doctor/findings.ts";
import { freePort } from "../harness/free-port.ts";
import { findPeer, makePeers, settle, startNode, type TestNode } from "../harness/node.ts";
import { joinPlatform, sealProject, type TestPlatform, untilKnown } from "../harness/platform.ts";
import { freshDatabaseUrl, noPostgres } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

/** `concordat doctor`, beside nodes that are well and nodes that are not. */
const hasPostgres = (await freshDatabaseUrl()) !== undefined;
const test = hasPostgres ? suite("the doctor") : skipSuite("the doctor", noPostgres);

let ouest: TestNode;
/** With embedded stores. */
let lyon: TestNode;
let owner: TestPlatform;
let hcl: TestPlatform;

test.before(async () => {
  [ouest, lyon] = await Promise.all([startNode({ store: "postgres" }), startNode({ store: "pglite" })]);
  await makePeers(ouest, lyon);
  owner = await joinPlatform(ouest, "rennes");
  hcl = await joinPlatform(lyon, "hcl");
  await untilKnown(owner, hcl);
  await settle(ouest, lyon);
});
test.after(async () => {
  await Promise.all([ouest, lyon].map((node) => node?.[Symbol.asyncDispose]()));
});

const program = join(import.meta.dirname, "..", "..", "src", "main.js");

type Settings = Readonly<Record<string, string>>;

const settingsOf = (node: TestNode): Settings => ({
  CONCORDAT_ORIGIN: node.origin,
  CONCORDAT_LISTEN: new URL(node.origin).host,
  CONCORDAT_DATA_DIR: node.dataDir,
  CONCORDAT_ALLOW_PRIVATE_ADDRESSES: "true",
  ...(node.databaseUrl === undefined ? {} : { CONCORDAT_DATABASE_URL: node.databaseUrl }),
});

/** What the doctor finds with the node's settings and `others`. */
async function examine(node: TestNode, others: Settings = {}): Promise<readonly Finding[]> {
  return await examineNode({
    readSettings: () => readConfig({ ...settingsOf(node), ...others }, { cwd: node.dataDir }),
    fetch,
    clock: () => new Date(),
    askNode: () => Promise.reject(new Error("the database is asked")),
  });
}

/** Runs the program on the node's machine. */
async function command(node: TestNode, ...argv: readonly string[]) {
  const env = { PATH: process.env.PATH ?? "", HOME: node.dataDir, ...settingsOf(node) };
  return await new Promise<{ code: number; out: string; err: string }>((resolve) => {
    execFile(process.execPath, [program, ...argv], { cwd: node.dataDir, env }, (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code), out, err });
    });
  });
}

/** The finding of a check, about `about`, that is not ok; the first one where all are. */
function find(findings: readonly Finding[], check: string, about?: string): Finding {
  const of = findings.filter((one) => one.check === check && (about === undefined || one.about === about));
  const found = of.find(({ state }) => state !== "ok") ?? of[0];
  assert.ok(found, `no finding of ${check} in ${JSON.stringify(findings)}`);
  return found;
}

test("finds nothing at a node that is well", async () => {
  const findings = await examine(ouest);
  assert.equal(
    findings.filter(({ state }) => state !== "ok"),
    [],
  );
  for (const check of ["settings", "data directory", "node keys", "database", "identity", "origin", "key bundles"]) {
    find(findings, check);
  }
  for (const check of ["peer", "lane", "clock"]) find(findings, check, lyon.origin);
  find(findings, "clock", "database");
});

test("ends with 0 where nothing is wrong, and with 1 where something is", async () => {
  const well = await command(ouest, "doctor");
  assert.is(well.code, 0, well.out + well.err);
  assert.match(well.out, new RegExp(`^ok\\tpeer ${lyon.origin}\\t`, "m"));
  await chmod(ouest.dataDir, 0o755);
  const ill = await command(ouest, "doctor", "--json");
  await chmod(ouest.dataDir, 0o700);
  assert.is(ill.code, 1);
  assert.is(JSON.parse(ill.err).code, "checks_failed");
  assert.match(find(JSON.parse(ill.out), "data directory").message, /chmod 700/);
});

test("asks a node with embedded stores that runs, as the administrator who is logged in", async () => {
  const examineEmbedded = async () => {
    const { code, out, err } = await command(lyon, "doctor", "--json");
    assert.is(code, 0, out + err);
    return JSON.parse(out) as readonly Finding[];
  };
  const before = await examineEmbedded();
  assert.is(find(before, "database").state, "skipped");
  assert.is(find(before, "peers and key bundles").state, "skipped");
  assert.match(find(before, "peers and key bundles").message, /concordat admin login/);
  const file = join(lyon.dataDir, "password");
  await writeFile(file, "not-a-secret-in-a-test");
  assert.is((await command(lyon, "admin", "login", lyon.origin, "--password-file", file)).code, 0);
  const after = await examineEmbedded();
  assert.is(find(after, "peer", ouest.origin).state, "ok");
  assert.is(find(after, "key bundles").state, "ok");
});

test("names a setting that cannot be used", async () => {
  const findings = await examine(ouest, { CONCORDAT_LOG_LEVLE: "debug" });
  assert.match(find(findings, "settings").message, /CONCORDAT_LOG_LEVEL/);
});

test("finds stores that do not answer, and a database that does not flush", async () => {
  const port = await freePort();
  const away = await examine(ouest, {
    CONCORDAT_DATABASE_URL: `postgres://nobody@127.0.0.1:${port}/none`,
    CONCORDAT_REDIS_URL: `redis://127.0.0.1:${port}`,
  });
  assert.is(find(away, "database").state, "wrong");
  assert.match(find(away, "database").message, /CONCORDAT_DATABASE_URL/);
  assert.match(find(away, "Redis").message, /CONCORDAT_REDIS_URL/);
  assert.is(find(away, "peers and key bundles").state, "skipped");
  const name = new URL(ouest.databaseUrl ?? "").pathname.slice(1);
  await ouest.query(`alter database "${name}" set synchronous_commit to off`);
  const unflushed = await examine(ouest);
  assert.match(find(unflushed, "database").message, /synchronous_commit/);
  await ouest.query(`alter database "${name}" reset synchronous_commit`);
});

test("finds an origin at which something else answers, or nothing", async () => {
  const port = await freePort();
  const origin = `http://127.0.0.1:${port}`;
  const nothing = await examine(ouest, { CONCORDAT_ORIGIN: origin });
  assert.match(find(nothing, "origin").message, /A node answers at .*but nothing at .*ECONNREFUSED/);
  assert.match(find(nothing, "identity").message, /belongs to/);
  const proxy = createServer((_, response) => response.end("<h1>Welcome</h1>"));
  await new Promise<void>((resolve) => proxy.listen(port, "127.0.0.1", resolve));
  try {
    assert.match(find(await examine(ouest, { CONCORDAT_ORIGIN: origin }), "origin").message, /not this node/);
  } finally {
    proxy.closeAllConnections();
    await new Promise((resolve) => proxy.close(resolve));
  }
});

test("finds a key bundle that is about to end", async () => {
  await ouest.query("update key_bundles set expires_at = expires_at - interval '350 days'");
  const findings = await examine(ouest);
  assert.is(find(findings, "key bundle", owner.uri).state, "warning");
  await ouest.query("update key_bundles set expires_at = expires_at + interval '350 days'");
});

test("finds a peer with other keys, what was given up, and a peer that is away", async () => {
  const pinned = String((await findPeer(ouest, lyon.origin))?.fingerprint);
  await ouest.query("update peers set fingerprint = 'another'");
  assert.match(find(await examine(ouest), "peer", lyon.origin).message, /another was pinned/);
  await ouest.query(`update peers set fingerprint = '${pinned}'`);

  await lyon.stop();
  const object = await sealProject(owner, { code: "D1", grants: [{ to: hcl }] });
  await owner.rest.ok("POST", "/projects", { object });
  await until("the back-off", async () => {
    const peer = await findPeer(ouest, lyon.origin);
    return (peer?.lane as { readonly state: string } | undefined)?.state === "backing_off";
  });
  const away = await examine(ouest);
  assert.is(find(away, "peer", lyon.origin).state, "wrong");
  assert.match(find(away, "lane", lyon.origin).message, /connect_failed/);
  await ouest.query("update deliveries set state = 'dead' where state = 'queued'");
  assert.match(find(await examine(ouest), "lane", lyon.origin).message, /deliveries list --state dead/);
});

test("reads the stores of a node that is stopped, and says how to start it", async () => {
  const before = JSON.stringify(await lyon.dump());
  const findings = await examine(lyon);
  assert.match(find(findings, "origin").message, /concordat serve/);
  assert.is(find(findings, "database").state, "ok");
  assert.is(find(findings, "peer", ouest.origin).state, "ok");
  assert.is(JSON.stringify(await lyon.dump()), before);
});

test.run();
