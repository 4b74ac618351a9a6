/** What a node refuses of its own platforms, with the codes of docs/protocol.md, "Answers"; nothing is stored then. */
import * as assert from "uvu/assert";
import { startNode, type TestNode } from "../harness/node.ts";
import {
  joinPlatform,
  makePlatformKeys,
  sealEdit,
  sealNext,
  sealProject,
  type TestPlatform,
} from "../harness/platform.ts";
import type { Json } from "../harness/rest.ts";
import { suite } from "../harness/suite.ts";

const test = suite("refused submissions");

let node: TestNode;
let owner: TestPlatform;
let reader: TestPlatform;

test.before(async () => {
  node = await startNode();
  owner = await joinPlatform(node, "owner");
  reader = await joinPlatform(node, "reader");
});
test.after(async () => {
  await node[Symbol.asyncDispose]();
});

/** The refusal, after which the caller's projects are as before. */
async function refused(as: TestPlatform, method: string, path: string, body: unknown): Promise<Json> {
  const before = await as.rest.list("/projects?include=object");
  const answer = await as.rest.call(method, path, body);
  assert.equal(await as.rest.list("/projects?include=object"), before);
  return { status: answer.status, ...answer.body };
}

function assertProblem(answer: Json, status: number, code: string): Json {
  assert.equal([answer.status, answer.code], [status, code], JSON.stringify(answer));
  return answer;
}

async function declare(code: string, readers: readonly TestPlatform[] = [reader]) {
  const grants = readers.map((to) => ({ to }));
  const object = await sealProject(owner, { code, grants });
  const { id } = await owner.rest.ok("POST", "/projects", { object });
  return { object, grants, path: `/projects/${String(id)}` };
}

test("an id that is taken", async () => {
  const { object } = await declare("TAKEN");
  const other = await sealProject(owner, { code: "OTHER", uri: String(object.id) });
  assertProblem(await refused(owner, "POST", "/projects", { object: other }), 409, "id_taken");
});

test("a revision that is not the next, naming the current one", async () => {
  const { object, grants, path } = await declare("STALE");
  const second = await sealNext(owner, object, { grants });
  const third = await sealNext(owner, second, { grants });
  const answer = await refused(owner, "PATCH", path, { object: third });
  assert.is(assertProblem(answer, 409, "revision_stale").current_revision, 1);
});

test("a grant to the owner itself", async () => {
  const object = await sealProject(owner, { code: "SELF" });
  const grants = [{ platform: owner.uri, mode: "readonly", from: "2026-01-01T00:00:00Z" }];
  const answer = await refused(owner, "POST", "/projects", { object: { ...object, "hf:grants": grants } });
  assertProblem(answer, 422, "grants_refused");
});

test("an envelope of another object", async () => {
  const { "hf:sealed": sealed } = await sealProject(owner, { code: "FIRST" });
  const object = { ...(await sealProject(owner, { code: "SECOND" })), "hf:sealed": sealed };
  assertProblem(await refused(owner, "POST", "/projects", { object }), 422, "envelope_binding");
});

test("another object under the path of this one, and what only the owner may do", async () => {
  const { object, grants, path } = await declare("PATH");
  const other = await sealProject(owner, { code: "ELSEWHERE" });
  assertProblem(await refused(owner, "PATCH", path, { object: other }), 403, "foreign_id");
  const edit = await sealEdit(reader, owner, object, { grants });
  assertProblem(await refused(reader, "PATCH", path, { object: edit }), 403, "not_owner");
  assertProblem(await refused(reader, "DELETE", path, undefined), 403, "not_owner");
});

test("a key bundle that another identity signed, and one that says something else under a published number", async () => {
  const path = `/platforms/${owner.id}/key-bundle`;
  const published = await owner.rest.ok("GET", path);
  const stranger = await makePlatformKeys(owner.uri);
  const foreign = { bundle: published.bundle, membership: stranger.membership };
  assertProblem(await refused(owner, "PUT", path, foreign), 422, "bundle_refused");
  const second = { bundle: stranger.bundle, membership: stranger.membership };
  assertProblem(await refused(owner, "PUT", path, second), 409, "content_conflict");
  assert.equal(await owner.rest.ok("GET", path), published);
});

test("refusals stand in the audit, counted by caller, code and minute", async () => {
  assert.is((await owner.rest.call("GET", "/peers")).status, 403);
  assert.is((await owner.rest.call("GET", "/peers")).status, 403);
  const entries = (await node.admin.list("/audit")).filter(({ action }) => action === "request.refused");
  const ofOwner = entries.filter(({ actor, code }) => actor === owner.uri && code === "right_missing");
  assert.is(
    ofOwner.reduce((sum, { count }) => sum + Number(count), 0),
    2,
  );
  assert.ok(ofOwner.every(({ outcome }) => outcome === "refused"));
});

test.run();
