import { once } from "node:events";
import { createServer } from "node:net";
import * as assert from "uvu/assert";
import { freePort } from "../harness/free-port.ts";
import { findPeer, makePeers, settle, startNode, type TestNode } from "../harness/node.ts";
import { joinPlatform, sealProject, type TestPlatform, untilKnown } from "../harness/platform.ts";
import { freshDatabaseUrl } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

/** What the monitoring of a node reads. */
const test = suite("metrics");
const store = (await freshDatabaseUrl()) === undefined ? "pglite" : "postgres";
/** A loopback address that the node does not have: on Linux that is all of 127/8, elsewhere perhaps that of IPv6. */
const elsewhere = await firstToListenOn("127.0.0.2", "::1");
const besides =
  elsewhere === undefined
    ? skipSuite("metrics on another host", "this machine has one loopback address")
    : suite("metrics on another host");

let port: number;
let ouest: TestNode;
let lyon: TestNode;
let owner: TestPlatform;
let hcl: TestPlatform;

test.before(async () => {
  port = await freePort();
  const environment = { CONCORDAT_METRICS_PORT: String(port), CONCORDAT_DELIVERY_RETRY_CAP_MS: "60000" };
  [ouest, lyon] = await Promise.all([startNode({ store, environment }), startNode({ store })]);
  await makePeers(ouest, lyon);
  owner = await joinPlatform(ouest, "rennes");
  hcl = await joinPlatform(lyon, "hcl");
  await untilKnown(owner, hcl);
});
test.after(async () => {
  await Promise.all([ouest, lyon].map((node) => node?.[Symbol.asyncDispose]()));
});

const share = async (code: string) => {
  const object = await sealProject(owner, { code, grants: [{ to: hcl }] });
  await owner.rest.ok("POST", "/projects", { object });
};

/** The value of each series, by its name and labels as they are written. */
async function scrape(): Promise<ReadonlyMap<string, number>> {
  const answer = await fetch(`http://127.0.0.1:${port}/metrics`);
  assert.is(answer.status, 200);
  assert.match(answer.headers.get("content-type") ?? "", /^text\/plain; version=0\.0\.4/);
  const series = [...(await answer.text()).matchAll(/^([a-z_]+(?:\{.*\})?) (\S+)$/gm)];
  return new Map(series.map(([, name = "", value]) => [name, Number(value)]));
}

test("count what was delivered, what the inbox answered, and the process", async () => {
  await share("M1");
  await settle(ouest, lyon);
  await fetch(`${ouest.origin}/inbox`, { method: "POST", body: "{}" });
  const series = await scrape();
  assert.ok(Number(series.get('concordat_delivery_attempts_total{outcome="delivered"}')) > 0);
  assert.ok(Number(series.get('concordat_inbox_answers_total{code="accepted"}')) > 0);
  assert.is(series.get('concordat_inbox_answers_total{code="unsupported_media"}'), 1);
  assert.is(series.get("concordat_database_up"), 1);
  assert.is(series.get("concordat_redis_up"), undefined, "a node without Redis says nothing of one");
  assert.ok(Number(series.get("process_resident_memory_bytes")) > 0);
  await until("numbers for the journal", async () => (await scrape()).get("concordat_journal_unnumbered_rows") === 0);
});

test("tell of a lane that backs off, until its peer is back", async () => {
  const labels = `{peer="${lyon.origin}"}`;
  assert.is((await scrape()).get(`concordat_lane_depth${labels}`), 0);
  await lyon.stop();
  await share("M2");
  await until("the back-off", async () => Number((await scrape()).get(`concordat_lane_back_off_seconds${labels}`)) > 0);
  const series = await scrape();
  assert.is(series.get(`concordat_lane_depth${labels}`), 1);
  assert.is(series.get(`concordat_lane_dead${labels}`), 0);
  assert.is(series.get(`concordat_lane_state{peer="${lyon.origin}",state="backing_off"}`), 1);
  assert.is(series.get(`concordat_lane_last_error_status${labels}`), 0, "it gives no answer");
  assert.ok(Number(series.get(`concordat_lane_oldest_age_seconds${labels}`)) > 0);
  assert.ok(Number(series.get('concordat_delivery_attempts_total{outcome="peer"}')) > 0);
  await lyon.start();
  const [waiting] = await ouest.admin.list("/deliveries?state=queued");
  if (waiting !== undefined) await ouest.admin.call("POST", `/deliveries/${String(waiting.id)}/retry`, {});
  await settle(ouest);
  const after = await scrape();
  assert.is(after.get(`concordat_lane_depth${labels}`), 0);
  assert.is(after.get(`concordat_lane_state{peer="${lyon.origin}",state="idle"}`), 1);
  assert.is(after.get(`concordat_lane_last_error_status${labels}`), undefined);
});

test("name no stranger, whoever asks to become a peer", async () => {
  const stranger = await startNode({ store });
  try {
    await stranger.admin.ok("POST", "/peers", { origin: ouest.origin });
    await until("the request", async () => (await findPeer(ouest, stranger.origin))?.state === "pending_in");
    assert.not([...(await scrape()).keys()].some((name) => name.includes(stranger.origin)));
  } finally {
    await stranger[Symbol.asyncDispose]();
  }
});

test("are given out on their own port alone, and end with the node", async () => {
  assert.is((await fetch(`${ouest.origin}/metrics`)).status, 404);
  assert.is((await fetch(`http://127.0.0.1:${port}/api/v1/projects`)).status, 404);
  await ouest.stop();
  const refused = await fetch(`http://127.0.0.1:${port}/metrics`).catch((error: Error) => error);
  assert.instance(refused, Error);
  await ouest.start();
});

besides("are given out there alone, where the settings say so", async () => {
  const metrics = await freePort();
  const place = `${elsewhere?.includes(":") ? `[${elsewhere}]` : elsewhere}:${metrics}`;
  await using _node = await startNode({ store, environment: { CONCORDAT_METRICS_LISTEN: place } });
  assert.is((await fetch(`http://${place}/metrics`)).status, 200);
  const refused = await fetch(`http://127.0.0.1:${metrics}/metrics`).catch((error: Error) => error);
  assert.instance(refused, Error);
});

test.run();
besides.run();

async function firstToListenOn(...hosts: readonly string[]): Promise<string | undefined> {
  for (const host of hosts) {
    const server = createServer().listen(0, host);
    const listens = await once(server, "listening").catch(() => null);
    server.close();
    if (listens !== null) return host;
  }
  return undefined;
}
