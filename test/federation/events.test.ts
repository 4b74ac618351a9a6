import { once } from "node:events";
import { connect, type Socket } from "node:net";
import * as assert from "uvu/assert";
import { openEventStream } from "../harness/event-stream.ts";
import { makePeers, startNode, type TestNode } from "../harness/node.ts";
import { joinPlatform, sealNext, sealProject, type TestPlatform, untilKnown } from "../harness/platform.ts";
import { type Json, logIn, type RestAnswer } from "../harness/rest.ts";
import { freshDatabaseUrl } from "../harness/servers.ts";
import { suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

/** What platforms and administrators are told while it happens (docs/rest.md, "Events"). */
const test = suite("events");
const store = (await freshDatabaseUrl()) === undefined ? "pglite" : "postgres";

let ouest: TestNode;
let lyon: TestNode;
let owner: TestPlatform;
let hcl: TestPlatform;
let other: TestPlatform;

test.before(async () => {
  [ouest, lyon] = await Promise.all([startNode({ store }), startNode({ store })]);
  await makePeers(ouest, lyon);
  owner = await joinPlatform(ouest, "rennes");
  hcl = await joinPlatform(lyon, "hcl");
  other = await joinPlatform(lyon, "other");
  await untilKnown(owner, hcl);
});
test.after(async () => {
  await Promise.all([ouest, lyon].map((node) => node?.[Symbol.asyncDispose]()));
});

const poll = (platform: TestPlatform, query: string) => platform.rest.ok("GET", `/events?${query}`);
const share = async (code: string) => {
  const object = await sealProject(owner, { code, grants: [{ to: hcl }] });
  const { id } = await owner.rest.ok("POST", "/projects", { object });
  return { id: String(id), object };
};

test("a share is an event to the grantee on its own node, and to nobody else there", async () => {
  await using stream = await openEventStream(lyon.origin, hcl.rest);
  await using beside = await openEventStream(lyon.origin, other.rest);
  assert.is(stream.status, 200);
  const { object } = await share("E1");
  const event = await until("the event", () => stream.events.find(({ object: uri }) => uri === object.id));
  assert.is(event.type, "project.shared");
  assert.is(event.revision, 1);
  assert.is(event.actor, owner.uri);
  assert.ok(Number.isSafeInteger(event.id));
  assert.equal(beside.events, []);
});

test("a stream resumes after the last event that it had", async () => {
  const { id, object } = await share("E2");
  const first = await until("the share", async () =>
    ((await poll(hcl, "after=0")).items as Json[]).find((one) => one.object === object.id),
  );
  const next = await sealNext(owner, object, { grants: [{ to: hcl }] });
  await owner.rest.ok("PATCH", `/projects/${id}`, { object: next });
  await until("the change", async () =>
    ((await poll(hcl, `after=${first.id}`)).items as Json[]).some(({ type }) => type === "project.updated"),
  );
  await using stream = await openEventStream(lyon.origin, hcl.rest, Number(first.id));
  const [event] = await until("the event", () => stream.events.length > 0 && stream.events);
  assert.is(event?.type, "project.updated");
  assert.is(event?.revision, 2);
});

test("a long poll waits for the next event, and says how far it looked", async () => {
  const { last_id: last } = await poll(hcl, "wait=0");
  const waiting = poll(hcl, `after=${last}&wait=25`);
  const { object } = await share("E3");
  const answer = await waiting;
  const [event] = answer.items as Json[];
  assert.is(event?.object, object.id);
  assert.is(answer.last_id, (answer.items as Json[]).at(-1)?.id);
  const nothing = await poll(hcl, `after=${answer.last_id}&wait=1`);
  assert.equal(nothing, { items: [], last_id: answer.last_id });
});

test("an administrator sees the node's own events, not those of platforms", async () => {
  const { items } = (await lyon.admin.ok("GET", "/events?after=0")) as { items: Json[] };
  const types = new Set(items.map(({ type }) => type));
  assert.ok(types.has("peer.approved"), [...types].join(" "));
  assert.not(types.has("project.shared"));
});

test("a stream ends with the session that opened it", async () => {
  const rest = await logIn(lyon.origin, "hcl", hcl.accessKey);
  await using stream = await openEventStream(lyon.origin, rest);
  await rest.ok("POST", "/auth/logout", {});
  await until("the end of the stream", () => stream.ended, 2_000);
  assert.is((await rest.call("GET", "/events?wait=0")).status, 401);
});

test("a stream and a waiting poll end when the platform is suspended", async () => {
  const guest = await joinPlatform(lyon, "guest");
  await using stream = await openEventStream(lyon.origin, guest.rest);
  const waiting = guest.rest.call("GET", "/events?wait=25");
  await lyon.admin.ok("PATCH", `/platforms/${guest.id}`, { status: "suspended" });
  await until("the end of the stream", () => stream.ended, 2_000);
  const refused = await waiting;
  assert.is(refused.body.code, "unauthenticated");
  assert.is(refused.status, 401);
});

test("a stream ends with the right that opened it, and nobody is told what there is no right to", async () => {
  const reader = await joinPlatform(lyon, "reader");
  await untilKnown(owner, reader);
  await using stream = await openEventStream(lyon.origin, reader.rest);
  const object = await sealProject(owner, { code: "RIGHT", grants: [{ to: reader }] });
  await owner.rest.ok("POST", "/projects", { object });
  await until("the share", () => stream.events.some((event) => event.object === object.id));
  const types = async () => ((await poll(reader, "after=0")).items as Json[]).map(({ type }) => type);
  assert.ok((await types()).includes("project.shared"));
  await lyon.admin.ok("PATCH", `/platforms/${reader.id}`, { rights: ["directory:read"] });
  await until("the end of the stream", () => stream.ended, 2_000);
  assert.not.ok((await types()).includes("project.shared"));
});

const unread = "streams that nobody reads keep no place, and tell nothing more, when their session has ended";
// An embedded journal cannot be filled from outside while its node runs.
if (store === "postgres") test(unread, fillUnreadStreams);

async function fillUnreadStreams(): Promise<void> {
  const stalled = await joinPlatform(lyon, "stalled");
  const before = Number((await poll(stalled, "wait=0")).last_id);
  // More than the buffers of a connection take.
  const count = 6_000;
  await lyon.query(`insert into journal (digest, at, action, outcome, audience, data)
    select 'd' || n, now(), 'project.updated', 'ok', array['${stalled.uri}'], json_build_object('x', repeat('x', 2000))
    from generate_series(1, ${count}) as n`);
  await joinPlatform(lyon, "who-has-it-numbered");
  await until("all are numbered", async () => Number((await poll(stalled, "wait=0")).last_id) >= before + count);
  const rest = await logIn(lyon.origin, "stalled", stalled.accessKey);
  const sockets = Array.from({ length: 8 }, () => {
    const headers = { "last-event-id": String(before), connection: "close" };
    return sendHead(lyon.origin, "GET", "/events", rest.token, headers).pause();
  });
  // Asked before they have begun, the question itself would take one of their places.
  await Promise.all(sockets.map((socket) => once(socket, "readable")));
  assert.is((await stalled.rest.call("GET", "/events?wait=0")).status, 429, "all places are taken");
  await rest.ok("POST", "/auth/logout", {});
  await until("there is a place", async () => (await stalled.rest.call("GET", "/events?wait=0")).status === 200, 2_000);
  for (const socket of sockets) {
    let told = 0;
    socket.on("data", (octets) => {
      told += octets.toString("latin1").split("\nid: ").length - 1;
    });
    await new Promise((resolve) => socket.resume().once("close", resolve));
    assert.ok(told < count, `${told} of ${count} were told`);
  }
}

test("refuses what names no event, and who has no token", async () => {
  const malformed = await hcl.rest.call("GET", "/events", undefined, { "last-event-id": "x" });
  assert.is(malformed.body.code, "invalid");
  assert.is(malformed.status, 400);
  for (const query of ["after=-1", "wait=26", "wait=x", "after=1e99", "after=0x1", "after=1e2", "after=%201"]) {
    assert.is((await hcl.rest.call("GET", `/events?${query}`)).body.code, "invalid", query);
  }
  assert.is((await hcl.rest.call("GET", "/events", undefined, { authorization: "Bearer no" })).status, 401);
});

test("refuses an event that the journal has not come to, as after a restore, instead of waiting for its number", async () => {
  const { last_id: last } = (await poll(hcl, "wait=0")) as { last_id: number };
  assert.is((await poll(hcl, `after=${last}`)).last_id, last, "the newest one is known");
  const beyond = last + 1_000;
  await using stream = await openEventStream(lyon.origin, hcl.rest, beyond);
  assert.is(stream.status, 409);
  for (const query of [`after=${beyond}`, `after=${beyond}&wait=20`]) {
    const refused = await hcl.rest.call("GET", `/events?${query}`);
    assert.is(refused.body.code, "event_unknown", query);
    assert.is(refused.status, 409);
    const head = Number(refused.body.last_id);
    assert.ok(head >= last && head < beyond, String(head));
  }
});

test("a caller has eight open streams and polls, whatever its sessions; what ended counts no more", async () => {
  const crowd = await joinPlatform(lyon, "crowd");
  const sessions = [crowd.rest, await logIn(lyon.origin, "crowd", crowd.accessKey)];
  const open = (at: number) => openEventStream(lyon.origin, sessions[at % 2] ?? crowd.rest);
  const streams = await Promise.all([0, 1, 2, 3, 4, 5, 6, 7].map(open));
  assert.equal(new Set(streams.map(({ status }) => status)), new Set([200]));
  const refused = await crowd.rest.call("GET", "/events?wait=1");
  assert.is(refused.body.code, "rate_limited");
  assert.is(refused.status, 429);
  assert.match(String(refused.headers["retry-after"]), /^[1-9][0-9]*$/);
  assert.is((await other.rest.call("GET", "/events?wait=0")).status, 200, "somebody else");
  await streams.pop()?.[Symbol.asyncDispose]();
  await until("there is room", async () => (await crowd.rest.call("GET", "/events?wait=0")).status === 200);
  const brief = await logIn(lyon.origin, "crowd", crowd.accessKey);
  const polls: Promise<RestAnswer>[] = [];
  await until("one waits", async () => {
    polls.push(brief.call("GET", "/events?wait=25"));
    return (await crowd.rest.call("GET", "/events?wait=0")).status === 429;
  });
  await brief.ok("POST", "/auth/logout", {});
  await Promise.all(polls);
  assert.is((await crowd.rest.call("GET", "/events?wait=0")).status, 200, "a poll that has ended");
  await Promise.all(streams.map((stream) => stream[Symbol.asyncDispose]()));
});

test("who is gone before the answer leaves no open stream behind", async () => {
  const hasty = await joinPlatform(lyon, "hasty");
  for (let count = 0; count < 20; count += 1) {
    const socket = sendHead(lyon.origin, "GET", "/events", hasty.rest.token);
    await new Promise<void>((resolve) => socket.write("", () => resolve()));
    socket.destroy();
  }
  await until("there is room for all", async () => {
    const streams = await Promise.all(Array.from({ length: 8 }, () => openEventStream(lyon.origin, hasty.rest)));
    await Promise.all(streams.map((stream) => stream[Symbol.asyncDispose]()));
    return streams.every(({ status }) => status === 200);
  });
});

test("who ends a poll is not refused anything", async () => {
  const brief = await joinPlatform(lyon, "brief");
  const polls: Socket[] = [];
  await until("as many wait as may", async () => {
    polls.push(sendHead(lyon.origin, "GET", "/events?wait=25", brief.rest.token));
    return (await brief.rest.call("GET", "/events?wait=0")).status === 429;
  });
  for (const socket of polls) socket.destroy();
  await until("there is room", async () => (await brief.rest.call("GET", "/events?wait=0")).status === 200);
  await brief.rest.call("GET", "/events?wait=no");
  const refusals = (await lyon.admin.list("/audit")).filter(
    ({ actor, outcome }) => actor === brief.uri && outcome === "refused",
  );
  assert.equal([...new Set(refusals.map(({ code }) => code))].sort(), ["invalid", "rate_limited"]);
});

test("a node that is told to stop ends streams and polls at once, and finishes what else is under way", async () => {
  await using node = await startNode({ store, child: true });
  const platform = await joinPlatform(node, "guest");
  await using stream = await openEventStream(node.origin, platform.rest);
  const { last_id } = await platform.rest.ok("GET", "/events?wait=0");
  const waiting = platform.rest.call("GET", "/events?wait=25");
  const credentials = JSON.stringify({ username: "guest", password: platform.accessKey });
  const login = sendHead(node.origin, "POST", "/auth/login", undefined, {
    "content-type": "application/json",
    "content-length": String(credentials.length),
    expect: "100-continue",
  });
  let answer = "";
  login.setEncoding("utf8").on("data", (text) => {
    answer += text;
  });
  await until("the node waits for the body", () => answer.startsWith("HTTP/1.1 100 "));
  const stopping = node.stop();
  await until("the end of the stream", () => stream.ended);
  const { status, body } = await waiting;
  assert.equal({ status, body }, { status: 200, body: { items: [], last_id } });
  assert.is(login.closed, false);
  login.write(credentials);
  await stopping;
  assert.match(answer, /HTTP\/1.1 200 OK/);
});

/** Begins a request to `origin`'s REST API. */
function sendHead(
  origin: string,
  method: string,
  path: string,
  token: string | undefined,
  headers: Readonly<Record<string, string>> = {},
): Socket {
  const { host, hostname, port } = new URL(origin);
  const socket = connect(Number(port), hostname);
  socket.on("error", () => {});
  const all = { host, ...(token === undefined ? {} : { authorization: `Bearer ${token}` }), ...headers };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.write(`${method} /api/v1${path} HTTP/1.1\r\n${lines.join("")}\r\n`);
  return socket;
}

test("an access key that is about to end is an event to its platform and the administrators", async () => {
  const { last_id: last } = await poll(other, "wait=0");
  const dayAhead = new Date(Date.now() + 86_400_000 + 5_000);
  const key = { platform_id: other.id, label: "short", end_datetime: dayAhead.toISOString() };
  const { id } = await lyon.admin.ok("POST", "/platforms/access-keys", key);
  const expiring = ({ type, object }: Json) => type === "access_key.expiring" && object === id;
  const find = async (rest: { ok: typeof other.rest.ok }) =>
    ((await rest.ok("GET", `/events?after=${last}&wait=2`)).items as Json[]).find(expiring);
  const [told, toAdministrators] = await Promise.all([
    until("the event", () => find(other.rest)),
    until("the administrators' event", () => find(lyon.admin)),
  ]);
  assert.equal(told.data, { platform: other.uri, key: (told.data as Json).key, end_datetime: key.end_datetime });
  assert.equal(toAdministrators, told);
  assert.not.ok(await find(hcl.rest));
});

test.run();
