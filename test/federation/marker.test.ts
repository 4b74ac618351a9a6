// time limit: 240 s
import { randomBytes } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { makePeers, type Store, settle, startNode, type TestNode } from "../harness/node.ts";
import {
  joinPlatform,
  openAs,
  readProject,
  sealNext,
  sealProject,
  type TestPlatform,
  untilKnown,
} from "../harness/platform.ts";
import type { Json } from "../harness/rest.ts";
import { freshDatabaseUrl } from "../harness/servers.ts";
import { suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

/**
 * What is sealed is on no node, in no form: a marker in the sealed part is looked for in every byte of the data
 * directories, in every column of every PostgreSQL table and in the logs. That the search finds what is there is proved
 * first, with a marker in clear: a project's name.
 */
const test = suite("a marker in the sealed part");

const stores: readonly Store[] =
  (await freshDatabaseUrl()) === undefined ? ["pglite", "pglite"] : ["postgres", "pglite"];
const sealedMarker = `sealed-${randomBytes(12).toString("hex")}`;
const clearMarker = `clear-${randomBytes(12).toString("hex")}`;

let nodes: readonly TestNode[];
let owner: TestPlatform;
let reader: TestPlatform;

test.before(async () => {
  nodes = await Promise.all(stores.map((store) => startNode({ store })));
  const [west, south] = nodes as [TestNode, TestNode];
  await makePeers(west, south);
  owner = await joinPlatform(west, "owner");
  reader = await joinPlatform(south, "reader");
  await untilKnown(owner, reader);
  const grants = [{ to: reader }];
  const content = { description: sealedMarker, people: [{ name: `Anne ${sealedMarker}` }] };
  const object = await sealProject(owner, { code: "MARKED", name: clearMarker, grants, content });
  const { id } = await owner.rest.ok("POST", "/projects", { object });
  const next = await sealNext(owner, object, { grants, content: { ...content, note: sealedMarker } });
  await owner.rest.ok("PATCH", `/projects/${String(id)}`, { object: next });
  const held = await until("the reader holds it", async () => {
    const project = await readProject(reader, String(object.id));
    return project?.revision === 2 ? project : null;
  });
  const opened = await openAs(reader, owner, held.object as Json);
  assert.is(opened.description, sealedMarker, "the reader can open what the nodes cannot");
  // A client that sends in clear what should be sealed is refused, and leaves nothing either.
  const leaking = { ...next, "hf:revision": 3, summary: sealedMarker };
  const refused = await owner.rest.call("PATCH", `/projects/${String(id)}`, { object: leaking });
  assert.is(refused.body.code, "clear_field_refused");
  const plain = await owner.rest.call("POST", "/projects", { code: "PLAIN", description: sealedMarker });
  assert.is(plain.body.code, "envelope_missing", JSON.stringify(plain.body));
  await settle(...nodes);
});
test.after(async () => {
  await Promise.all(nodes.map((node) => node[Symbol.asyncDispose]()));
});

/** A text as octets may hold it: raw, and inside base64 or base64url, where it stands at one of three alignments. */
function formsOf(text: string): readonly Buffer[] {
  const forms = [text, Buffer.from(text).toString("hex"), Buffer.from(text, "utf8").toString("utf16le")];
  for (const before of [0, 1, 2]) {
    // The characters that also hold bits of what stands before or behind are left out.
    const encoded = Buffer.concat([Buffer.alloc(before), Buffer.from(text)]).toString("base64url");
    const inner = encoded.slice(before === 0 ? 0 : 4, Math.floor(encoded.length / 4) * 4 - 4);
    forms.push(inner, inner.replaceAll("-", "+").replaceAll("_", "/"));
  }
  return [...new Set(forms)].map((form) => Buffer.from(form));
}

interface Place {
  readonly name: string;
  readonly octets: Buffer;
}

/** Everything that a node holds: files of its data directory, rows of its database, its log. */
async function* placesOf(node: TestNode, isStopped: boolean): AsyncGenerator<Place> {
  for (const entry of await readdir(node.dataDir, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    // A running store drops files while it is read.
    const octets = await readFile(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return Buffer.alloc(0);
      throw error;
    });
    yield { name: path.slice(node.dataDir.length + 1), octets };
  }
  // PGlite compresses long values in its files, so its tables are read as well, which needs a stopped node.
  if (node.store === "postgres" || isStopped) {
    for (const [table, rows] of Object.entries(await node.dump())) {
      yield { name: `table ${table}`, octets: Buffer.from(rows.join("\n")) };
    }
    // `bytea` is shown as hex digits above; its octets are looked at as well.
    const [{ bodies = [] } = {}] = await node.query("select array_agg(body) as bodies from follow_requests");
    for (const body of (bodies ?? []) as Buffer[]) yield { name: "follow_requests.body", octets: body };
  }
  yield { name: "log", octets: Buffer.from(node.log()) };
}

/** Where a text is found, by name of the place. */
async function search(node: TestNode, text: string, isStopped = false): Promise<readonly string[]> {
  const forms = formsOf(text);
  const found: string[] = [];
  for await (const { name, octets } of placesOf(node, isStopped)) {
    if (forms.some((form) => octets.includes(form))) found.push(name);
  }
  return found;
}

test("the search finds a text in each of the forms that it looks for", () => {
  const forms = formsOf(clearMarker);
  const finds = (text: string) => forms.some((form) => Buffer.from(text).includes(form));
  for (const before of ["", "a", "ab", "abc", "abcd"]) {
    for (const behind of ["", "z", "zy", "zyx"]) {
      const text = `${before}${clearMarker}${behind}`;
      assert.ok(finds(text));
      assert.ok(finds(Buffer.from(text).toString("base64url")), `base64url, ${before.length} before`);
      assert.ok(finds(Buffer.from(text).toString("base64")));
      assert.ok(finds(Buffer.from(text).toString("hex")));
      assert.not.ok(finds(text.replaceAll("-", "_")));
    }
  }
});

test("the search finds a marker in clear in each store, while it runs and stopped", async () => {
  for (const node of nodes) {
    const running = await search(node, clearMarker);
    const where = node.store === "postgres" ? /^table (?:objects|activities)$/ : /^database\//;
    assert.ok(
      running.some((name) => where.test(name)),
      `${node.store}: ${running.join()}`,
    );
    if (node.store === "postgres") continue;
    await node.stop();
    const stopped = await search(node, clearMarker, true);
    for (const place of [where, /^table objects$/, /^table (?:activities|received_activities)$/]) {
      assert.ok(
        stopped.some((name) => place.test(name)),
        `${place}: ${stopped.join()}`,
      );
    }
    await node.start();
  }
});

test("a marker in the sealed part is found nowhere, while the nodes run", async () => {
  for (const node of nodes) assert.equal(await search(node, sealedMarker), [], node.store);
});

test("nor after they were stopped", async () => {
  for (const node of nodes) {
    await node.stop();
    assert.equal(await search(node, sealedMarker, true), [], node.store);
  }
});

test.run();
