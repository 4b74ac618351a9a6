import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import pg from "pg";
import * as assert from "uvu/assert";
import { ConcordatError } from "../../src/errors.ts";
import { claimPostgres } from "../../src/storage/postgres-claim.ts";
import { startNode } from "../harness/node.ts";
import { freshDatabaseUrl, noPostgres } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";
import { startTcpProxy } from "../harness/tcp-proxy.ts";
import { until } from "../harness/until.ts";

const url = (await freshDatabaseUrl()) ?? "";
const test = url === "" ? skipSuite("claim of PostgreSQL", noPostgres) : suite("claim of PostgreSQL");

const children: ChildProcess[] = [];
test.after(() => {
  for (const child of children) child.kill("SIGKILL");
});

/** A process that claims the database; its lines come one by one. */
function hold() {
  const program = fileURLToPath(new URL("./hold-claim.js", import.meta.url));
  const child = spawn(process.execPath, [program, url], { stdio: ["ignore", "pipe", "inherit"] });
  children.push(child);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    line: async (): Promise<string> => (await lines.next()).value ?? "",
    async kill() {
      child.kill("SIGKILL");
      if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    },
    /** Lets it run again after `freeze`. */
    thaw: () => child.kill("SIGCONT"),
    freeze: () => child.kill("SIGSTOP"),
  };
}

const claim = (onTaken: (error: ConcordatError) => void = () => {}) => claimPostgres(url, { onTaken });

async function ask(text: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(text)).rows;
  } finally {
    await client.end();
  }
}

const ofHolders =
  "from pg_locks join pg_stat_activity using (pid) where locktype = 'advisory' and datname = current_database()";
const holders = async () => (await ask(`select pid ${ofHolders}`)).map(({ pid }) => pid);
/** Ends the connections that hold the claim. */
const endHolders = () => ask(`select pg_terminate_backend(pid) ${ofHolders}`);

test("refuses a second process and names what to set, without the password", async () => {
  await using _first = await claim();
  assert.match(await hold().line(), /^failed database_in_use .*CONCORDAT_DATABASE_URL.*CONCORDAT_REDIS_URL/);

  const secret = new URL(url);
  secret.password = "hidden";
  const error = await claimPostgres(secret.href, { onTaken: () => {} }).catch((thrown: unknown) => thrown);
  assert.instance(error, ConcordatError);
  assert.is((error as ConcordatError).code, "database_in_use");
  assert.not.match((error as ConcordatError).message, "hidden");
});

test("can be claimed again at once after its holder was killed", async () => {
  const holder = hold();
  assert.is(await holder.line(), "claimed");
  await holder.kill();
  await using _next = await claim();
  assert.is((await holders()).length, 1);
});

test("can be claimed again once it was given back", async () => {
  await (await claim())[Symbol.asyncDispose]();
  assert.equal(await holders(), []);
  await using _next = await claim();
});

test("gets its claim back when the connection was lost", async () => {
  let taken = 0;
  await using _claim = await claim(() => (taken += 1));
  const before = await holders();
  await endHolders();
  await until("another connection holds the claim", async () => {
    const now = await holders();
    return now.length === 1 && now[0] !== before[0];
  });
  assert.is(taken, 0);
});

test("is given back at once, though a new connection for it gets no answer", async () => {
  await using proxy = await startTcpProxy(new URL(url), 5432);
  const claimed = await claimPostgres(proxy.url, { onTaken: () => {} });
  proxy.cut();
  await until("its connection is gone", () => proxy.connections === 0);
  proxy.freeze();
  proxy.mend();
  await until("it connects anew", () => proxy.connections > 0);
  const began = performance.now();
  await claimed[Symbol.asyncDispose]();
  assert.ok(performance.now() - began < 4_000, "the connection itself would take 5 seconds to be given up");
});

test("ends a holder that another process replaced while it could not look", async () => {
  const first = hold();
  assert.is(await first.line(), "claimed");
  first.freeze();
  await endHolders();
  await using _second = await claim();
  first.thaw();
  assert.is(await first.line(), "taken database_in_use");
});

test("keeps a second node from the database of a first", async () => {
  await using node = await startNode({ store: "postgres", child: true });
  const environment = { CONCORDAT_DATABASE_URL: node.databaseUrl ?? "" };
  const refused = await startNode({ store: "postgres", child: true, environment }).then(
    async (second) => {
      await second[Symbol.asyncDispose]();
      return "it started";
    },
    (error: Error) => error.message,
  );
  assert.match(refused, "database_in_use");
  assert.is((await fetch(`${node.origin}/ready`)).status, 200);
});

/** The claim, here: locks of every database of the server are listed, and others run tests beside this one. */
const ofThisDatabase = `locktype = 'advisory' and objid = 2933333959
  and database = (select oid from pg_database where datname = current_database())`;

test("ends a node whose database another process took", async () => {
  await using node = await startNode({ store: "postgres", child: true });
  const other = new pg.Client({ connectionString: node.databaseUrl });
  await other.connect();
  try {
    const [holder] = await node.query(`select pid from pg_locks where ${ofThisDatabase} and granted`);
    // Whoever waits for the lock gets it before the node can connect again.
    const taken = other.query("select pg_advisory_lock(7228301255)");
    await until("the other process waits for the lock", async () => {
      const waiting = await node.query(`select pid from pg_locks where ${ofThisDatabase} and not granted`);
      return waiting.length > 0;
    });
    await node.query(`select pg_terminate_backend(${Number(holder?.pid)})`);
    await taken;
    await until("the node says why it ends", () => node.log().includes("another process took the database over"));
    await until("the node has ended", () =>
      fetch(`${node.origin}/health`).then(
        () => false,
        () => true,
      ),
    );
  } finally {
    await other.end();
  }
});

test.run();
