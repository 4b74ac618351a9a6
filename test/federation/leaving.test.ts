// time limit: 120 s
import * as assert from "uvu/assert";
import { openEventStream } from "../harness/event-stream.ts";
import { findPeer, makePeers, settle, startNode, type TestNode } from "../harness/node.ts";
import { approveScripted, type ScriptedPeer, startPeer } from "../harness/peer.ts";
import {
  joinPlatform,
  makePlatformKeys,
  type PlatformKeys,
  readProject,
  sealEdit,
  sealNext,
  sealProject,
  type TestPlatform,
  untilKnown,
} from "../harness/platform.ts";
import { type Json, logIn } from "../harness/rest.ts";
import { suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

/** Platforms that leave, or are removed (docs/protocol.md, "Activities"). */
const test = suite("platforms that leave");

let west: TestNode;
let south: TestNode;
let scripted: ScriptedPeer;
let ouest: TestPlatform;
let sud: TestPlatform;
/** Read beside `sud` on the same node, and stays. */
let stays: TestPlatform;

test.before(async () => {
  [west, south, scripted] = await Promise.all([startNode(), startNode(), startPeer()]);
  ouest = await joinPlatform(west, "ouest");
  sud = await joinPlatform(south, "sud");
  stays = await joinPlatform(south, "sud-2");
  await makePeers(west, south);
  await approveScripted(west, scripted);
  await untilKnown(ouest, sud, stays);
  await untilKnown(sud, ouest);
});
test.after(async () => {
  await Promise.all([west, south, scripted].map((part) => part[Symbol.asyncDispose]()));
});

const share = async (owner: TestPlatform, code: string, ...to: readonly PlatformKeys[]): Promise<Json> => {
  const object = await sealProject(owner, { code, grants: to.map((platform) => ({ to: platform })) });
  await owner.rest.ok("POST", "/projects", { object });
  return object;
};
const sees = (platform: TestPlatform, object: Json) =>
  until(`${platform.handle} sees ${String(object["hf:code"])}`, () => readProject(platform, String(object.id)));
const seesNot = (platform: TestPlatform, object: Json) =>
  until(`${platform.handle} sees ${String(object["hf:code"])} no more`, async () => {
    return (await readProject(platform, String(object.id))) === undefined;
  });
/** What no node but its home may hold any more: looked at before a peering ends, which takes every copy with it. */
const forgotten: Json[] = [];
const remove = (node: TestNode, { id }: TestPlatform) => node.admin.call("DELETE", `/platforms/${id}`);
const actionsOf = async (node: TestNode, action: string) =>
  (await node.admin.list("/audit")).filter((entry) => entry.action === action);
const statusOf = async (url: string) => (await fetch(url)).status;

test("a platform leaves: its projects go everywhere, and so does what others shared with it", async () => {
  const gone = await joinPlatform(south, "gone");
  await untilKnown(ouest, gone);
  await untilKnown(gone, ouest);
  const own = await share(gone, "L1", ouest, stays);
  const shared = await share(ouest, "L2", gone, stays);
  const alone = await share(ouest, "L3", gone);
  await Promise.all([sees(ouest, own), sees(stays, own), sees(gone, shared), sees(gone, alone)]);

  assert.is((await stays.rest.call("DELETE", `/platforms/${gone.id}`)).status, 404, "only it itself");
  assert.is((await gone.rest.call("DELETE", `/platforms/${gone.id}`)).status, 204);
  await seesNot(ouest, own);
  await seesNot(stays, own);
  assert.ok(await readProject(stays, String(shared.id)), "who shares the copy still reads it");
  await settle(west, south);
  assert.is((await gone.rest.call("GET", "/projects")).status, 401, "its session is over");
  await logIn(south.origin, "gone", gone.accessKey).then(
    () => assert.unreachable("its access key opens nothing"),
    (error) => assert.match(String(error), "401"),
  );
  forgotten.push(own, alone);
  // Those who shared with it hear of it, and cannot go on sharing.
  const told = (await actionsOf(west, "project.unreachable")).map(({ object }) => object);
  assert.equal(told.sort(), [shared.id, alone.id].sort());
  const next = await sealNext(ouest, shared, { grants: [{ to: gone }, { to: stays }] });
  const { id } = (await readProject(ouest, String(shared.id))) as Json;
  assert.is(
    (await ouest.rest.call("PATCH", `/projects/${String(id)}`, { object: next })).body.code,
    "unknown_reference",
  );
  const without = await sealNext(ouest, shared, { grants: [{ to: stays }] });
  assert.is((await ouest.rest.call("POST", `/projects/${String(id)}/unshare`, { object: without })).status, 200);
  await until("the others go on", async () => (await readProject(stays, String(shared.id)))?.revision === 2);
});

test("an administrator removes a platform: its documents are 410, and its handle is never reused", async () => {
  const gone = await joinPlatform(west, "removed");
  await untilKnown(sud, gone);
  assert.is((await remove(west, gone)).status, 204);
  assert.is((await remove(west, gone)).body.code, "state_conflict", "once");
  const account = `acct:removed@${new URL(west.origin).host}`;
  for (const path of [
    "/platforms/removed",
    "/platforms/removed/key-bundle",
    "/platforms/removed/key-bundles",
    `/.well-known/webfinger?resource=${account}`,
    `/.well-known/webfinger?resource=${encodeURIComponent(gone.uri)}`,
  ]) {
    assert.is(await statusOf(`${west.origin}${path}`), 410, path);
  }
  const again = await west.admin.call("POST", "/platforms", { name: "Another", handle: "removed" });
  assert.equal([again.status, again.body.code], [409, "id_taken"]);
  assert.is((await west.admin.ok("GET", `/platforms/${gone.id}`)).status, "removed");
  for (const call of [
    west.admin.call("PATCH", `/platforms/${gone.id}`, { status: "active" }),
    west.admin.call("POST", "/platforms/access-keys", { platform_id: gone.id }),
  ]) {
    assert.ok([409, 422].includes((await call).status), "nothing brings it back");
  }
  await until("peers do not offer it any more", async () => {
    return !(await sud.rest.list("/platforms/recipients")).some(({ uri }) => uri === gone.uri);
  });
});

test("a removal while the grantee's node is down arrives when it is back", async () => {
  const gone = await joinPlatform(west, "while-down");
  await untilKnown(sud, gone);
  const object = await share(gone, "L4", sud);
  await sees(sud, object);
  await south.stop();
  assert.is((await remove(west, gone)).status, 204);
  await south.start();
  sud = { ...sud, rest: await logIn(south.origin, sud.handle, sud.accessKey) };
  await seesNot(sud, object);
  await settle(west);
  assert.equal(await west.admin.list("/deliveries?state=dead"), []);
});

test("a scripted peer removes a platform: copies go, and what comes late does not bring it back", async () => {
  const chu = await makePlatformKeys(`${scripted.origin}/platforms/chu`);
  const send = (activity: Json) =>
    scripted.post(west.origin, activity, { keyId: `${String(activity.actor)}#main-key` });
  const introduction = () =>
    scripted.activity({
      type: "Update",
      actor: chu.uri,
      object: { id: chu.uri, type: "Organization", preferredUsername: "chu", name: "CHU" },
      "hf:bundles": [{ actor: chu.uri, membership: chu.membership, bundles: [chu.bundle] }],
    });
  assert.is((await send(introduction())).status, 202);
  const object = await sealProject(chu, { code: "L5", grants: [{ to: ouest }] });
  const create = scripted.activity({ type: "Create", actor: chu.uri, to: [ouest.uri], object });
  assert.is((await send(create)).status, 202);
  await sees(ouest, object);
  const open = await sealProject(ouest, { code: "L7", grants: [{ to: chu, mode: "editable" }] });
  await ouest.rest.ok("POST", "/projects", { object: open });
  // What waits for it when it goes is for nobody.
  const { id } = (await findPeer(west, scripted.origin)) as Json;
  await west.admin.ok("POST", `/peers/${String(id)}/suspend`, {});
  await share(ouest, "L6", chu);
  await west.admin.ok("POST", `/peers/${String(id)}/resume`, {});
  await settle(west);

  const tombstone = { id: chu.uri, type: "Tombstone", deleted: new Date().toISOString() };
  const other = scripted.activity({ type: "Delete", actor: scripted.actor, object: scripted.actor });
  assert.is((await scripted.post(west.origin, other)).status, 202, "an instance ends nothing in this way");
  assert.is((await findPeer(west, scripted.origin))?.state, "approved");
  assert.is((await send(scripted.activity({ type: "Delete", actor: chu.uri, object: tombstone }))).status, 202);
  await seesNot(ouest, object);
  const effectOf = async (activity: Json) => {
    assert.is((await send(activity)).status, 202);
    const [receipt] = await west.admin.list(
      `/receipts?direction=out&activity=${encodeURIComponent(String(activity.id))}`,
    );
    return receipt?.effect;
  };
  assert.is(await effectOf(introduction()), "stale");
  const next = await sealNext(chu, object, { grants: [{ to: ouest }] });
  const late = scripted.activity({ type: "Update", actor: chu.uri, to: [ouest.uri], object: next });
  assert.is(await effectOf(late), "stale");
  const edited = await sealEdit(chu, ouest, open, { grants: [{ to: chu, mode: "editable" }] });
  const edit = scripted.activity({ type: "Update", actor: chu.uri, object: edited, "hf:baseRevision": 1 });
  assert.is(await effectOf(edit), "stale");
  assert.is(await readProject(ouest, String(object.id)), undefined);
  forgotten.push(object);
  assert.not.ok((await ouest.rest.list("/platforms/recipients")).some(({ uri }) => uri === chu.uri));
});

test("its streams of events end when it leaves", async () => {
  const gone = await joinPlatform(west, "listening");
  await using stream = await openEventStream(west.origin, gone.rest);
  await until("the stream", () => stream.status === 200);
  assert.is((await gone.rest.call("DELETE", `/platforms/${gone.id}`)).status, 204);
  await until("the end of the stream", () => stream.ended);
});

test("no node has kept what nobody there may read", async () => {
  const nodes = [west, south];
  await Promise.all(nodes.map((node) => node.stop()));
  for (const node of nodes) {
    const held = await node.query("select uri from objects where object is not null or owner_object is not null");
    const uris = new Set(held.map(({ uri }) => uri));
    const kept = forgotten.filter(({ id }) => uris.has(id) && !String(id).startsWith(`${node.origin}/projects/`));
    assert.equal(
      kept.map(({ id }) => id),
      [],
      node.origin,
    );
  }
  await Promise.all(nodes.map((node) => node.start()));
});

test("peers that knew it are told: one that may not learn of it any more, and one that was no peer meanwhile", async () => {
  const early = await joinPlatform(west, "known-early");
  const late = await joinPlatform(west, "known-late");
  await untilKnown(sud, early, late);
  const knows = async ({ uri }: PlatformKeys) =>
    (await sud.rest.list("/platforms/recipients")).some((one) => one.uri === uri);
  const path = `/peers/${String((await findPeer(west, south.origin))?.id)}`;
  await west.admin.ok("PATCH", path, { policy: { platforms: ["ouest"] } });
  assert.is((await remove(west, early)).status, 204);
  await until("the removal is known although the platform is hidden now", async () => !(await knows(early)));

  await west.admin.ok("POST", `${path}/revoke`, {});
  await until("both have ended it", async () => (await findPeer(south, west.origin))?.state === "revoked");
  assert.is((await remove(west, late)).status, 204);
  await makePeers(west, south);
  await untilKnown(sud, ouest);
  await until("the removal is known once they are peers again", async () => !(await knows(late)));
  await west.admin.ok("PATCH", path, { policy: { platforms: "all" } });
  await settle(west, south);
  for (const { uri } of [early, late]) {
    const told = (await actionsOf(south, "platform.removed")).filter(({ object }) => object === uri);
    assert.is(told.length, 1, "once is enough");
  }
});

test.run();
