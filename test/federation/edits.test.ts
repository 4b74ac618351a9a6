// time limit: 180 s
import * as assert from "uvu/assert";
import { findPeer, makePeers, settle, startNode, type TestNode } from "../harness/node.ts";
import { approveScripted, type ScriptedPeer, startPeer } from "../harness/peer.ts";
import {
  joinPlatform,
  makePlatformKeys,
  openAs,
  type PlatformKeys,
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

/** Edits by editable grantees go through the owner's node (docs/protocol.md, "Activities"). South and north are no peers. */
const test = suite("edits by grantees");

let west: TestNode;
let south: TestNode;
let north: TestNode;
let scripted: ScriptedPeer;
let owner: TestPlatform;
let neighbour: TestPlatform;
let editor: TestPlatform;
let reader: TestPlatform;
let far: TestPlatform;
/** A platform of the scripted peer, with an editable grant. */
let chu: PlatformKeys;
/** The owner's newest word, and the newest snapshot. */
let ownersWord: Json;
let current: Json;

const grants = () => [
  { to: editor, mode: "editable" as const },
  { to: reader },
  { to: far },
  { to: neighbour, mode: "editable" as const },
  { to: chu, mode: "editable" as const },
];

test.before(async () => {
  [west, south, north, scripted] = await Promise.all([startNode(), startNode(), startNode(), startPeer()]);
  owner = await joinPlatform(west, "ouest");
  neighbour = await joinPlatform(west, "voisin");
  editor = await joinPlatform(south, "sud");
  reader = await joinPlatform(south, "sud-2");
  far = await joinPlatform(north, "nord");
  chu = await makePlatformKeys(`${scripted.origin}/platforms/chu`);
  await makePeers(west, south);
  await makePeers(west, north);
  await approveScripted(west, scripted);
  assert.is((await send(introduce(chu, "chu"))).status, 202);
  await untilKnown(owner, editor, reader, far, chu);
  await untilKnown(editor, owner);
});
test.after(async () => {
  await Promise.all([west, south, north, scripted].map((part) => part[Symbol.asyncDispose]()));
});

const introduce = (keys: PlatformKeys, handle: string): Json =>
  scripted.activity({
    type: "Update",
    actor: keys.uri,
    object: { id: keys.uri, type: "Organization", preferredUsername: handle, name: handle },
    "hf:bundles": [{ actor: keys.uri, membership: keys.membership, bundles: [keys.bundle] }],
  });
const send = (activity: Json, to: TestNode = west) =>
  scripted.post(to.origin, activity, { keyId: `${String(activity.actor)}#main-key` });
const readers = () => [owner, neighbour, editor, reader, far];
const projectOf = (platform: TestPlatform) => readProject(platform, String(current.id));
const idAt = async (platform: TestPlatform) => String((await projectOf(platform))?.id);
const patch = async (platform: TestPlatform, object: Json) =>
  await platform.rest.call("PATCH", `/projects/${await idAt(platform)}`, { object });
const edit = (by: PlatformKeys, clear: Json = {}, before = current) =>
  sealEdit(by, owner, before, { grants: grants(), clear });

/** Waits until every platform, on every node, has the newest snapshot, and the owner's word beside it. */
async function assertEverywhere(): Promise<void> {
  for (const platform of readers()) {
    const project = await until(`${platform.handle} has revision ${String(current["hf:revision"])}`, async () => {
      const found = await projectOf(platform);
      return found?.revision === current["hf:revision"] ? found : null;
    });
    assert.equal(project.object, current);
    assert.equal(project.owner_object, ownersWord === current ? undefined : ownersWord);
  }
}

test("the owner's own revision has no other word beside it", async () => {
  current = await sealProject(owner, { code: "E1", grants: grants() });
  ownersWord = current;
  await owner.rest.ok("POST", "/projects", { object: current });
  await assertEverywhere();
});

test("an edit from another node changes nothing there, and comes back to every node untouched", async () => {
  const object = await edit(editor, { name: "Edited in the south" });
  const answer = await patch(editor, object);
  assert.is(answer.status, 200, JSON.stringify(answer.body));
  assert.is(answer.body.revision, 1, "only the owner's node applies it");
  current = object;
  await assertEverywhere();
  const received = await projectOf(far);
  assert.is(received?.name, "Edited in the south");
  assert.is(received?.owner_uri, owner.uri);
  const content = await openAs(far, editor, received?.object as Json, received?.owner_object as Json);
  assert.equal(content, { description: "revision 2" });
});

test("an edit by a platform of the owner's node is applied at once; the owner's word stays the owner's", async () => {
  const object = await edit(neighbour, { name: "Edited next door" });
  const answer = await patch(neighbour, object);
  assert.is(answer.status, 200, JSON.stringify(answer.body));
  assert.is(answer.body.revision, 3);
  current = object;
  await assertEverywhere();
});

test("an edit from a scripted peer is applied once, with the same receipt for its repetition", async () => {
  const object = await edit(chu, { name: "Edited by script" });
  const activity = scripted.activity({ type: "Update", actor: chu.uri, to: [owner.uri], object, "hf:baseRevision": 3 });
  const first = await send(activity);
  assert.is(first.status, 202, JSON.stringify(first.body));
  const again = await send(activity);
  assert.equal(again.body, first.body);
  current = object;
  await assertEverywhere();
  const back = await until("the owner's Update comes back to the editor", () =>
    scripted.arrivals.find((arrival) => (arrival.activity.object as Json)["hf:revision"] === 4),
  );
  assert.is(back.activity.type, "Update");
  assert.is(back.activity.actor, owner.uri);
  assert.is(back.activity["hf:baseRevision"], undefined);
  assert.equal(back.activity.object, object);
});

test("the owner's next revision is made of the edit, and stands alone again", async () => {
  current = await sealNext(owner, current, { grants: grants(), clear: { name: "The owner's word" } });
  ownersWord = current;
  assert.is((await patch(owner, current)).status, 200);
  await assertEverywhere();
});

test("of two edits of one revision the second is a dead letter, and its administrator is told", async () => {
  const peer = await findPeer(west, south.origin);
  await settle(west, south);
  await west.admin.ok("POST", `/peers/${String(peer?.id)}/suspend`, {});
  const late = await edit(editor, { name: "Too late" });
  const first = await edit(neighbour, { name: "First" });
  assert.is((await patch(neighbour, first)).status, 200);
  assert.is((await patch(editor, late)).status, 200);
  await west.admin.ok("POST", `/peers/${String(peer?.id)}/resume`, {});
  current = first;
  await assertEverywhere();
  const dead = await until("the edit is dead", async () => (await south.admin.list("/deliveries?state=dead"))[0]);
  const { status, code } = dead.last_error as Json;
  assert.equal([status, code], [409, "revision_stale"]);
  const told = (await south.admin.list("/audit")).filter(({ action }) => action === "delivery.dead");
  assert.equal(
    told.map(({ object }) => object),
    [dead.activity],
  );
});

test("a read-only grantee edits nothing: 403 not_owner", async () => {
  const answer = await patch(reader, await edit(reader));
  assert.is(answer.status, 403);
  assert.is(answer.body.code, "not_owner");
});

test("only the owner changes grants, also with an editable grant", async () => {
  const object = await edit(editor);
  for (const verb of ["share", "unshare"]) {
    const answer = await editor.rest.call("POST", `/projects/${await idAt(editor)}/${verb}`, { object });
    assert.is(answer.status, 403);
    assert.is(answer.body.code, "not_owner");
  }
});

for (const [name, change] of [
  ["code", () => ({ "hf:code": "E2" })],
  ["grants", () => ({ "hf:grants": (current["hf:grants"] as Json[]).slice(1) })],
  [
    "a grant's mode",
    () => ({ "hf:grants": (current["hf:grants"] as Json[]).map((g) => ({ ...g, mode: "editable" })) }),
  ],
] as const) {
  test(`an edit of ${name} is refused at either node: 422 grants_refused`, async () => {
    for (const platform of [editor, neighbour]) {
      const answer = await patch(platform, await edit(platform, change()));
      assert.is(answer.status, 422, JSON.stringify(answer.body));
      assert.is(answer.body.code, "grants_refused");
    }
    assert.is((await projectOf(owner))?.revision, current["hf:revision"]);
  });
}

test("an edit of an older revision is refused with the current one at the editor's own node", async () => {
  const answer = await patch(editor, await edit(editor, {}, ownersWord));
  assert.is(answer.status, 409);
  assert.is(answer.body.code, "revision_stale");
  assert.is(answer.body.current_revision, current["hf:revision"]);
});

for (const [name, status, code, make, to] of [
  ["of code", 422, "grants_refused", () => edit(chu, { "hf:code": "E2" }), () => west],
  ["of an older revision", 409, "revision_stale", () => edit(chu, {}, ownersWord), () => west],
  ["sealed by somebody else", 422, "envelope_binding", () => edit(editor), () => west],
  ["with another attributedTo", 403, "not_owner", () => edit(chu, { attributedTo: chu.uri }), () => west],
] as const) {
  test(`a scripted edit ${name}: ${status} ${code}`, async () => {
    const object = await make();
    const activity = scripted.activity({
      type: "Update",
      actor: chu.uri,
      object,
      "hf:baseRevision": Number(object["hf:revision"]) - 1,
    });
    const answer = await send(activity, to());
    assert.is(answer.body.code, code, JSON.stringify(answer.body));
    assert.is(answer.status, status);
    assert.is((await projectOf(owner))?.revision, current["hf:revision"]);
  });
}

test("a scripted edit of a base that is not the revision before: 409 with the current revision", async () => {
  const object = await edit(chu);
  const activity = scripted.activity({ type: "Update", actor: chu.uri, object, "hf:baseRevision": 1 });
  const answer = await send(activity);
  assert.is(answer.status, 409);
  assert.is(answer.body.code, "revision_stale");
  assert.is(answer.body.current_revision, current["hf:revision"]);
});

test("a platform without a grant finds nothing to edit: 404", async () => {
  const stranger = await makePlatformKeys(`${scripted.origin}/platforms/stranger`);
  const baseRevision = Number(current["hf:revision"]);
  const object = await edit(stranger);
  const activity = scripted.activity({ type: "Update", actor: stranger.uri, object, "hf:baseRevision": baseRevision });
  const answer = await send(activity);
  assert.is(answer.status, 404);
  assert.is(answer.body.code, "not_found");
});

test("an editor that lost its grant edits nothing more", async () => {
  const rest = grants().filter(({ to }) => to !== chu);
  current = await sealNext(owner, current, { grants: rest });
  ownersWord = current;
  await owner.rest.ok("POST", `/projects/${await idAt(owner)}/unshare`, { object: current });
  const object = await sealEdit(chu, owner, current, { grants: rest });
  const baseRevision = Number(current["hf:revision"]);
  const answer = await send(
    scripted.activity({ type: "Update", actor: chu.uri, object, "hf:baseRevision": baseRevision }),
  );
  assert.is(answer.status, 404);
  await assertEverywhere();
});

test.run();
