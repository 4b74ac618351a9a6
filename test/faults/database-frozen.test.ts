import { sql } from "drizzle-orm";
import * as assert from "uvu/assert";
import { ConcordatError } from "../../src/errors.ts";
import { mintUuid } from "../../src/protocol/ids.ts";
import { limits } from "../../src/protocol/limits.ts";
import { isUnavailable, openDatabase } from "../../src/storage/database.ts";
import { inspectDatabase } from "../../src/storage/inspect.ts";
import { claimPostgres } from "../../src/storage/postgres-claim.ts";
import { startLinkedNode } from "../harness/database-link.ts";
import { freePort } from "../harness/free-port.ts";
import { approveScripted, startPeer } from "../harness/peer.ts";
import { freshDatabaseUrl, noPostgres } from "../harness/servers.ts";
import { postIn, signatureForms } from "../harness/signature-form.ts";
import { skipSuite, suite } from "../harness/suite.ts";
import { startTcpProxy } from "../harness/tcp-proxy.ts";
import { until } from "../harness/until.ts";

const url = (await freshDatabaseUrl()) ?? "";
const test = url === "" ? skipSuite("a PostgreSQL that freezes", noPostgres) : suite("a PostgreSQL that freezes");

/** What a request may take while the database is frozen, milliseconds: peers wait 10 s. */
const patience = 8_000;
/** More than the pool has connections. */
const crowd = 25;

/** What `run` rejects with; a rejection that comes too late is no answer. */
function failureInTime(run: Promise<unknown>): Promise<unknown> {
  return outcomeInTime(
    run.then(
      () => "it succeeded",
      (error: unknown) => error,
    ),
  );
}

async function outcomeInTime(run: Promise<unknown>): Promise<unknown> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise((resolve) => {
    timer = setTimeout(() => resolve("no answer in time"), patience);
  });
  const first = await Promise.race([run, late]);
  clearTimeout(timer);
  return first;
}

test("fails every statement and transaction in time as unavailable, and works after the thaw", async () => {
  await using proxy = await startTcpProxy(new URL(url), 5432);
  await using database = await openDatabase({ url: proxy.url });
  const select = () => database.db.execute(sql`select 1`);
  const transact = () => database.transaction((tx) => tx.execute(sql`select 1`));
  await Promise.all(Array.from({ length: crowd }, transact));

  let begun: () => void = () => {};
  const inside = new Promise<void>((resolve) => {
    begun = resolve;
  });
  let go: () => void = () => {};
  const frozen = new Promise<void>((resolve) => {
    go = resolve;
  });
  const interrupted = database.transaction(async (tx) => {
    await tx.execute(sql`select 1`);
    begun();
    await frozen;
    await tx.execute(sql`select 1`);
  });
  await inside;
  proxy.freeze();
  go();
  const failures = await Promise.all(
    [interrupted, ...Array.from({ length: crowd }, (_, n) => (n % 2 === 0 ? select() : transact()))].map(failureInTime),
  );
  assert.equal(
    failures.filter((error) => !isUnavailable(error)),
    [],
  );

  proxy.thaw();
  await Promise.all(Array.from({ length: crowd }, transact));
});

test("is told from a defect by whoever starts or looks into a node", async () => {
  await using proxy = await startTcpProxy(new URL(url), 5432);
  proxy.freeze();
  const starts = [
    openDatabase({ url: proxy.url }),
    claimPostgres(proxy.url, { onTaken: () => {} }),
    inspectDatabase({ url: proxy.url, dataDir: "" }),
  ];
  const failures = await Promise.all(starts.map(failureInTime));
  assert.equal(
    failures.map((error) => (error instanceof ConcordatError ? error.code : error)),
    starts.map(() => "database_unreachable"),
  );
});

test("answers 503 in time to every request, and serves again after the thaw", async () => {
  await using linked = await startLinkedNode();
  const { node, link } = linked;
  await using peer = await startPeer();
  await approveScripted(node, peer);

  link.freeze();
  const signal = () => AbortSignal.timeout(patience);
  const ask = [
    async () => (await fetch(`${node.origin}/ready`, { signal: signal() })).status,
    async () => (await node.admin.call("GET", "/peers")).status,
    async () => (await node.admin.call("POST", "/platforms", { name: "Frozen", handle: "frozen" })).status,
    ...signatureForms.map((form) => async () => {
      const activity = peer.activity({ type: "Like", object: `${peer.origin}/notes/1` });
      const { status, body } = await postIn(form, peer, node.origin, activity);
      return body.code === "unavailable" ? status : `${status} ${String(body.code)}`;
    }),
  ];
  // One alone: logins to one account are judged one after the other.
  const login = async () => {
    const body = JSON.stringify({ username: "admin", password: "not-a-secret-in-a-test" });
    const headers = { "content-type": "application/json" };
    const answer = await fetch(`${node.origin}/api/v1/auth/login`, { method: "POST", body, headers, signal: signal() });
    return answer.status;
  };
  const requests = Array.from({ length: crowd }, (_, n) => ask[n % ask.length]?.() ?? Promise.resolve(0));
  requests.push(login());
  const answers = await Promise.all(
    requests.map((request) =>
      failureInTime(
        request.then((status) => {
          throw status;
        }),
      ),
    ),
  );
  assert.equal(
    answers.map((status, n) => `${n}: ${String(status)}`).filter((line) => !line.endsWith(" 503")),
    [],
  );
  assert.is((await fetch(`${node.origin}/health`)).status, 200);

  link.thaw();
  await until("the node is ready", async () => (await fetch(`${node.origin}/ready`)).status === 200);
  assert.is((await node.admin.call("GET", "/peers")).status, 200);
});

test("is no refusal of what a peer sends or asks for: 503 in time, and nothing to be journaled", async () => {
  await using linked = await startLinkedNode();
  const { node, link } = linked;
  await using peer = await startPeer();
  await approveScripted(node, peer);
  const like = () => peer.post(node.origin, peer.activity({ type: "Like", object: `${peer.origin}/notes/1` }));
  await Promise.all(Array.from({ length: crowd }, () => fetch(`${node.origin}/ready`)));
  link.freeze();
  // What comes later waits for the turn of the first, and gives up before its own statement does.
  const first = like();
  await new Promise((resolve) => setTimeout(resolve, 50));
  const answers = Promise.all([
    first,
    like(),
    peer.post(node.origin, null, {
      method: "GET",
      path: `/projects/${mintUuid()}`,
      body: "",
      digest: null,
      covered: ["(request-target)", "host", "date"],
    }),
  ]);
  const told = answers.then((all) => all.map(({ status, body }) => `${status} ${String(body.code)}`));
  assert.equal(await outcomeInTime(told), ["503 unavailable", "503 unavailable", "503 unavailable"]);
  link.thaw();
});

test("keeps no login waiting for those before it, and judges none that nobody waits for any more", async () => {
  await using linked = await startLinkedNode();
  const { node, link } = linked;
  const logIn = async (n: number, signal?: AbortSignal) => {
    const answer = await fetch(`${node.origin}/api/v1/auth/login`, {
      method: "POST",
      body: JSON.stringify({ username: `nobody-${n}`, password: "guessed" }),
      headers: { "content-type": "application/json" },
      signal: signal ?? null,
    });
    return `${answer.status} ${answer.headers.has("retry-after")}`;
  };
  link.freeze();
  const leaving = new AbortController();
  const left = Array.from({ length: 5 }, (_, n) => logIn(n, leaving.signal).catch(() => "left"));
  const logins = Array.from({ length: 50 }, (_, n) => logIn(n));
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  leaving.abort();
  const answers = await outcomeInTime(Promise.all(logins));
  assert.equal(
    answers,
    logins.map(() => "503 true"),
  );
  await Promise.all(left);

  link.thaw();
  await until("the node is ready", async () => (await fetch(`${node.origin}/ready`)).status === 200);
  assert.is(await logIn(0), "401 false");
  // One for the account and one for the address: of this login, and of the one or two that had begun.
  const failures = (await node.query("select from login_failures")).length / 2;
  assert.ok(failures <= 3, `${failures} were judged`);
});

test("holds 64 MiB of bodies that wait for it, refuses what is beyond at once, and takes it after the thaw", async () => {
  const metrics = await freePort();
  await using linked = await startLinkedNode({ environment: { CONCORDAT_METRICS_PORT: String(metrics) } });
  const { node, link } = linked;
  await using peer = await startPeer();
  await approveScripted(node, peer);
  const like = () => peer.activity({ type: "Like", object: `${peer.origin}/notes/1` });

  // As much as is held, to the octet; each is judged by the database twice: how much it may bring, and who sent it.
  let end: () => void = () => {};
  const lastOctet = new Promise<void>((resolve) => {
    end = resolve;
  });
  const body = JSON.stringify([like()]).padEnd(limits.batchOctets);
  let answered = 0;
  const waiting = Array.from({ length: limits.heldOctets / limits.batchOctets }, async () => {
    const { status } = await peer.post(node.origin, null, { path: "/batch-inbox", body, lastOctet });
    answered += 1;
    return status;
  });
  await until("all but the last octets have come", async () => {
    const measured = await (await fetch(`http://127.0.0.1:${metrics}/metrics`)).text();
    const octets = /^concordat_request_octets (\d+)$/m.exec(measured)?.[1];
    return Number(octets) === limits.heldOctets - waiting.length;
  });
  link.freeze();
  end();
  const health = async () => (await fetch(`${node.origin}/health`)).status;
  // What was sent before the second of two requests that follow each other has been read when that is answered.
  assert.equal([await health(), await health()], [200, 200]);

  const beyond = like();
  const login = { username: "admin", password: "not-a-secret-in-a-test" };
  for (const refused of [
    await peer.post(node.origin, beyond),
    await peer.post(node.origin, [beyond], { path: "/batch-inbox", body: JSON.stringify([beyond]) }),
    await node.admin.call("POST", "/auth/login", login),
  ]) {
    assert.is(refused.status, 503);
    assert.is(refused.body.code, "unavailable");
    assert.match(String(refused.headers["retry-after"]), /^[1-9][0-9]*$/);
  }
  assert.is(await health(), 200);
  assert.is(answered, 0, "those that are held still wait");

  link.thaw();
  await Promise.all(waiting);
  const stored = () => node.query(`select from received_activities where id = '${String(beyond.id)}'`);
  assert.is((await stored()).length, 0);
  await until("the node is ready", async () => (await fetch(`${node.origin}/ready`)).status === 200);
  assert.is((await peer.post(node.origin, beyond)).status, 202);
  assert.is((await stored()).length, 1);
});

test.run();
