// time limit: 120 s
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { type InstanceEvent, watchEvents } from "../../src/sdk/events.ts";
import { createRestClient, type RestClient } from "../../src/sdk/rest.ts";
import { run } from "../cli/terminal.ts";
import { startNode, type TestNode } from "../harness/node.ts";
import { peopleIn } from "../harness/people.ts";
import { joinPlatform, sealProject, type TestPlatform } from "../harness/platform.ts";
import { freshDatabaseUrl } from "../harness/servers.ts";
import { suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

/** Whoever watches is told everything once, whatever becomes of the connection. */
const test = suite("watching events");
const store = (await freshDatabaseUrl()) === undefined ? "pglite" : "postgres";

let node: TestNode;
let owner: TestPlatform;
let guest: TestPlatform;
let directory: string;

test.before(async () => {
  directory = await mkdtemp(join(tmpdir(), "concordat-watch-"));
  node = await startNode({ store });
  [owner, guest] = [await joinPlatform(node, "rennes"), await joinPlatform(node, "guest")];
});
test.after(async () => {
  await node?.[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});

const share = async (code: string) => {
  const object = await sealProject(owner, { code, grants: [{ to: guest }] });
  await until("the node answers", async () => (await owner.rest.call("POST", "/projects", { object })).status === 201);
  return String(object.id);
};

const clientOf = (origin: string): RestClient =>
  createRestClient(
    { origin, fetch, clock: () => new Date() },
    { credentials: { username: "guest", password: guest.accessKey } },
  );

/** Keeps what a watch gives, from `after` on, until it is disposed. */
function keep(client: RestClient, after: number): AsyncDisposable & { readonly events: readonly InstanceEvent[] } {
  const events: InstanceEvent[] = [];
  const ending = new AbortController();
  const watching = (async () => {
    for await (const event of watchEvents(client, { after, types: ["project"], signal: ending.signal })) {
      events.push(event);
    }
  })();
  return {
    events,
    async [Symbol.asyncDispose]() {
      ending.abort();
      await watching;
    },
  };
}

const headOf = async () => Number((await guest.rest.ok("GET", "/events?wait=0")).last_id);
const objectsOf = (events: readonly InstanceEvent[]) => events.map(({ object }) => String(object));

test("misses nothing and gives nothing twice while the node is started again", async () => {
  const before = await headOf();
  await using watch = keep(clientOf(node.origin), before);
  const shared: string[] = [];
  for (let count = 0; count < 3; count += 1) shared.push(await share(`W${count}`));
  await until("the first events", () => watch.events.length === 3);
  const sharing = (async () => {
    for (let count = 3; count < 9; count += 1) shared.push(await share(`W${count}`));
  })();
  await node.stop();
  await node.start();
  await sharing;
  await until("the events", () => watch.events.length >= shared.length);
  shared.push(await share("W9"));
  await until("the last event", () => objectsOf(watch.events).includes(shared.at(-1) ?? ""));
  assert.equal(objectsOf(watch.events), shared);
});

test("falls back to polls where a proxy keeps streams back", async () => {
  const proxy = await startBufferingProxy(node.origin);
  try {
    const { port } = proxy.address() as AddressInfo;
    await using watch = keep(clientOf(`http://127.0.0.1:${port}`), await headOf());
    const shared = await share("P1");
    await until("the event", () => watch.events.length > 0, 15_000);
    assert.equal(objectsOf(watch.events), [shared]);
  } finally {
    proxy.closeAllConnections();
    await new Promise((resolve) => proxy.close(resolve));
  }
});

test("ends when the instance refuses the caller for good", async () => {
  const credentials = { username: "guest", password: "not the key" };
  const client = createRestClient({ origin: node.origin, fetch, clock: () => new Date() }, { credentials });
  const error = await watchEvents(client)
    .next()
    .then(
      () => null,
      (reason: { code?: unknown }) => reason,
    );
  assert.is(error?.code, "invalid_credentials");
});

test("ends when the instance has not come to the event that is named, and says why that may be", async () => {
  const after = (await headOf()) + 1_000;
  const error = await watchEvents(clientOf(node.origin), { after })
    .next()
    .then(
      () => null,
      (reason: { code?: unknown; message: string }) => reason,
    );
  assert.is(error?.code, "event_unknown");
  for (const part of [`id ${after}`, /may be of another instance/, /older copy/])
    assert.match(error?.message ?? "", part);
  const { command } = peopleIn(directory);
  await command("admin", "admin", "login", node.origin);
  const watched = await command("admin", "admin", "watch", "--after", String(after));
  assert.is(watched.code, 1);
  for (const part of [/older copy/, /event_unknown/]) assert.match(watched.err, part);
});

test("the commands print a line for each event, and end after as many as were asked for", async () => {
  const { command, settingsOf } = peopleIn(directory);
  const platform = await node.admin.ok("POST", "/platforms", { name: "HCL", access_key: { label: "first" } });
  const [{ key }] = platform.access_keys as [{ key: string }];
  const joining = { settings: settingsOf("hcl"), answers: [key] };
  const joined = await run(["join", node.origin, "--handle", "hcl", "--json"], joining);
  assert.is(joined.code, 0, joined.err);
  await node.admin.ok("PATCH", `/platforms/${String(platform.id)}`, { name: "Hospices civils de Lyon" });
  const argv = ["watch", "--after", "0", "--types", "platform.updated", "--count", "1"];
  const printed = await command("hcl", ...argv, "--json");
  assert.is(printed.code, 0, printed.err);
  const lines = printed.out.trimEnd().split("\n");
  assert.is(lines.length, 1);
  const event = JSON.parse(lines[0] ?? "") as InstanceEvent;
  assert.is(event.instance, node.origin);
  assert.ok(Number.isSafeInteger(event.id));
  const shown = await command("hcl", ...argv);
  assert.match(shown.out, new RegExp(`^\\S+Z  #${event.id}  ${event.type.replace(".", "\\.")}  `));
  assert.match(shown.err, /^Watching http/);

  const dayAhead = new Date(Date.now() + 86_400_000 + 5_000).toISOString();
  const short = { platform_id: platform.id, label: "short", end_datetime: dayAhead };
  const { prefix } = await node.admin.ok("POST", "/platforms/access-keys", short);
  const expiring = await command("hcl", "watch", "--after", "0", "--types", "access_key.expiring", "--count", "1");
  for (const told of [`platform ${String(platform.uri)}`, `key ${String(prefix)}`, `end datetime ${dayAhead}`])
    assert.match(expiring.out, told);

  await command("admin", "admin", "login", node.origin);
  const administrators = await command("admin", "admin", "watch", "--after", "0", "--count", "2", "--json");
  assert.is(administrators.out.trimEnd().split("\n").length, 2, administrators.err);
  assert.is((await command("hcl", "watch", "--after", "first")).code, 2);
});

/** Gives an answer on when it has ended, as some proxies do. */
async function startBufferingProxy(target: string): Promise<Server> {
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const { host: _host, connection: _connection, ...headers } = request.headers;
    const gone = new AbortController();
    response.once("close", () => gone.abort());
    try {
      const answer = await fetch(`${target}${request.url}`, {
        method: request.method ?? "GET",
        headers: Object.entries(headers).map(([name, value]) => [name, String(value)] as [string, string]),
        ...(chunks.length > 0 ? { body: Buffer.concat(chunks) } : {}),
        signal: gone.signal,
      });
      const head = { "content-type": answer.headers.get("content-type") ?? "" };
      response.writeHead(answer.status, head).flushHeaders();
      response.end(await answer.text());
    } catch {
      response.destroy();
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

test.run();
