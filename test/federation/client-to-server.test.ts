/** ActivityPub client-to-server: a platform's outbox has the effects of the REST API, by the same code. */
import * as assert from "uvu/assert";
import { makePeers, settle, startNode, type TestNode } from "../harness/node.ts";
import {
  joinPlatform,
  readProject,
  sealEdit,
  sealNext,
  sealProject,
  type TestPlatform,
  untilKnown,
} from "../harness/platform.ts";
import type { Json } from "../harness/rest.ts";
import { suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

const test = suite("client-to-server");

let nodes: readonly [TestNode, TestNode];
let owner: TestPlatform;
let reader: TestPlatform;

test.before(async () => {
  nodes = await Promise.all([startNode(), startNode()]);
  await makePeers(...nodes);
  owner = await joinPlatform(nodes[0], "owner");
  reader = await joinPlatform(nodes[1], "reader");
  await untilKnown(owner, reader);
});
test.after(async () => {
  await Promise.all(nodes.map((node) => node[Symbol.asyncDispose]()));
});

interface Answer {
  readonly status: number;
  readonly location: string | null;
  readonly body: Json;
}

/** One request to a box of a platform, with the token of `as`, or without. */
async function request(method: string, url: string, as: TestPlatform | null, body?: Json): Promise<Answer> {
  const answer = await fetch(url, {
    method,
    headers: {
      accept: "application/activity+json",
      ...(as === null ? {} : { authorization: `Bearer ${as.rest.token}` }),
      ...(body === undefined ? {} : { "content-type": "application/activity+json" }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: answer.status, location: answer.headers.get("location"), body: (await answer.json()) as Json };
}

const submit = (activity: Json, as: TestPlatform | null = owner) =>
  request("POST", `${owner.uri}/outbox`, as, { "@context": "https://www.w3.org/ns/activitystreams", ...activity });

const grants = () => [{ to: reader }];

test("Create, Update and Delete have the effects of REST, here and at the peer", async () => {
  const object = await sealProject(owner, { code: "C2S", grants: grants() });
  const created = await submit({ type: "Create", actor: owner.uri, object });
  assert.is(created.status, 201, JSON.stringify(created.body));
  assert.match(String(created.location), new RegExp(`^${owner.node.origin}/activities/`));
  assert.is(created.body.id, created.location);
  const atReader = (revision: number) =>
    until(`revision ${revision} is at the reader`, async () => {
      const project = await readProject(reader, String(object.id));
      return project?.revision === revision ? project : null;
    });
  await atReader(1);

  const next = await sealNext(owner, object, { grants: grants() });
  assert.is((await submit({ type: "Update", object: next })).status, 201);
  assert.equal((await atReader(2)).object, (await readProject(owner, String(object.id)))?.object);

  assert.is((await submit({ type: "Delete", object: object.id })).status, 201);
  await until("it is gone at the reader", async () => !(await readProject(reader, String(object.id))));
  assert.is(await readProject(owner, String(object.id)), undefined);
});

test("what is not the caller's to say is refused with a code", async () => {
  const object = await sealProject(owner, { code: "C2S-2" });
  const codeOf = async (activity: Json, as: TestPlatform | null = owner) => {
    const { status, body } = await submit(activity, as);
    return [status, body.code];
  };
  assert.equal(await codeOf({ type: "Create", object }, null), [401, "unauthenticated"]);
  assert.equal(await codeOf({ type: "Create", object, id: `${owner.node.origin}/activities/1` }), [400, "invalid"]);
  assert.equal(await codeOf({ type: "Like", object }), [400, "invalid"]);
  assert.equal(await codeOf({ type: "Create", actor: reader.uri, object }), [403, "actor_mismatch"]);
  const third = await joinPlatform(nodes[0], "third");
  assert.equal(await codeOf({ type: "Create", object }, third), [403, "right_missing"]);
  assert.equal(await codeOf({ type: "Delete", object: object.id as string }), [404, "not_found"]);
  const { "hf:sealed": _, ...clear } = object;
  assert.equal(await codeOf({ type: "Create", object: clear }), [422, "envelope_missing"]);
  assert.is(await readProject(owner, String(object.id)), undefined);
  const audit = await nodes[0].admin.list("/audit");
  const trace = audit.filter(({ action }) => action === "request.refused").map(({ actor, code }) => [actor, code]);
  for (const entry of [
    [null, "unauthenticated"],
    [owner.uri, "actor_mismatch"],
    [third.uri, "right_missing"],
  ]) {
    assert.ok(
      trace.some(([actor, code]) => actor === entry[0] && code === entry[1]),
      JSON.stringify(entry),
    );
  }
});

test("a grantee edits by its outbox, and the same submission again changes nothing", async () => {
  const editable = [{ to: reader, mode: "editable" as const }];
  const object = await sealProject(owner, { code: "C2S-3", grants: editable });
  assert.is((await submit({ type: "Create", object })).status, 201);
  const again = await submit({ type: "Create", object });
  assert.equal([again.status, again.location], [201, null], "what is there already needs no activity");
  await until("it is at the grantee", () => readProject(reader, String(object.id)));
  const edited = await sealEdit(reader, owner, object, { grants: editable });
  const context = { "@context": "https://www.w3.org/ns/activitystreams" };
  const answer = await request("POST", `${reader.uri}/outbox`, reader, { ...context, type: "Update", object: edited });
  assert.is(answer.status, 201, JSON.stringify(answer.body));
  await until("the owner has it", async () => (await readProject(owner, String(object.id)))?.revision === 2);
  assert.is((await submit({ type: "Delete", object: object.id })).status, 201);
});

test("more than fit on a page are read page by page, each once", async () => {
  const writer = await joinPlatform(nodes[0], "writer");
  const codes = Array.from({ length: 53 }, (_, at) => `PAGE-${at}`);
  for (const code of codes) await writer.rest.ok("POST", "/projects", { object: await sealProject(writer, { code }) });
  const collection = (await request("GET", `${writer.uri}/outbox`, writer)).body;
  const found: unknown[] = [];
  for (let next: unknown = collection.first; next !== undefined; ) {
    const { body } = await request("GET", String(next), writer);
    const items = body.orderedItems as Json[];
    assert.ok(items.length <= 50);
    found.push(...items.map(({ object }) => (object as Json | undefined)?.["hf:code"]));
    next = body.next;
  }
  assert.is(found.length, collection.totalItems);
  assert.equal(found.filter((code) => code !== undefined).sort(), [...codes].sort());
});

test("a platform reads its own outbox and inbox, and nobody else does", async () => {
  await settle(...nodes);
  const outbox = await request("GET", `${owner.uri}/outbox`, owner);
  assert.equal([outbox.body.type, outbox.body.totalItems], ["OrderedCollection", 7]);
  const page = await request("GET", String(outbox.body.first), owner);
  const types = (page.body.orderedItems as Json[]).map(({ type }) => type);
  // The first is the directory entry by which the peer knows of the platform.
  assert.equal(types, ["Delete", "Update", "Create", "Delete", "Update", "Create", "Update"]);
  const inbox = await request("GET", `${reader.uri}/inbox?page=1`, reader);
  const came = (inbox.body.orderedItems as Json[]).map(({ type, actor }) => [type, actor]);
  assert.equal(
    came,
    ["Delete", "Update", "Create", "Delete", "Update", "Create"].map((type) => [type, owner.uri]),
  );
  assert.is((await request("GET", `${owner.uri}/outbox`, null)).status, 401);
  assert.is((await request("GET", `${reader.uri}/inbox`, owner)).status, 401);
});

test.run();
