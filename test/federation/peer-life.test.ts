// time limit: 180 s
import * as assert from "uvu/assert";
import { findPeer, makePeers, settle, startNode, type TestNode } from "../harness/node.ts";
import { approveScripted, type ScriptedPeer, startPeer } from "../harness/peer.ts";
import {
  joinPlatform,
  readProject,
  sealNext,
  sealProject,
  type TestPlatform,
  untilKnown,
} from "../harness/platform.ts";
import type { Json } from "../harness/rest.ts";
import { suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

/** Suspend, resume, revoke, and the policy of a peer (docs/protocol.md, "Peers"). */
const test = suite("the life of a peer");

let west: TestNode;
let south: TestNode;
let peer: ScriptedPeer;
/** One platform on each node; each shares a project with the other. */
let ouest: TestPlatform;
let sud: TestPlatform;
let ofWest: Json;
let ofSouth: Json;

test.before(async () => {
  [west, south, peer] = await Promise.all([startNode(), startNode(), startPeer()]);
  ouest = await joinPlatform(west, "ouest");
  sud = await joinPlatform(south, "sud");
  await approveScripted(west, peer);
  await makePeers(west, south);
  await untilKnown(ouest, sud);
  await untilKnown(sud, ouest);
  ofWest = await sealProject(ouest, { code: "W", grants: [{ to: sud }] });
  ofSouth = await sealProject(sud, { code: "S", grants: [{ to: ouest }] });
  await ouest.rest.ok("POST", "/projects", { object: ofWest });
  await sud.rest.ok("POST", "/projects", { object: ofSouth });
  await untilRevision(sud, ofWest);
  await untilRevision(ouest, ofSouth);
});
test.after(async () => {
  await Promise.all([west, south, peer].map((part) => part[Symbol.asyncDispose]()));
});

const untilRevision = (platform: TestPlatform, object: Json) =>
  until(
    `${platform.handle} holds revision ${String(object["hf:revision"])} of ${String(object["hf:code"])}`,
    async () => {
      return (await readProject(platform, String(object.id)))?.revision === object["hf:revision"];
    },
  );
const verbOf = (node: TestNode, of: { readonly origin: string }) => async (verb: string) => {
  const { id } = (await findPeer(node, of.origin)) as Json;
  return await node.admin.call("POST", `/peers/${String(id)}/${verb}`, {});
};
const revise = async (platform: TestPlatform, object: Json, to: TestPlatform): Promise<Json> => {
  const next = await sealNext(platform, object, { grants: [{ to }] });
  const { id } = (await readProject(platform, String(object.id))) as Json;
  await platform.rest.ok("PATCH", `/projects/${String(id)}`, { object: next });
  return next;
};
const note = (members: Json = {}) => peer.activity({ type: "Like", object: `${peer.origin}/notes/1`, ...members });
const stateOf = async (node: TestNode, other: TestNode) => (await findPeer(node, other.origin))?.state;
const heldAt = (node: TestNode, other: TestNode) =>
  node.admin.list(`/deliveries?state=held&peer=${encodeURIComponent(other.origin)}`);

test("a suspended peer is refused inward, on every inbox, and nobody tells it that it is suspended", async () => {
  const act = verbOf(west, peer);
  const before = peer.arrivals.length;
  assert.is((await act("suspend")).body.state, "suspended");
  await west.admin.ok("POST", "/platforms", { name: "Anybody", handle: "anybody" });
  for (const path of ["/inbox", "/actor/inbox", "/platforms/anybody/inbox", "/batch-inbox"]) {
    const body = JSON.stringify(path === "/batch-inbox" ? [note()] : note());
    for (const answer of [
      await peer.post(west.origin, note(), { path, body }),
      await peer.postMessage(west.origin, note(), { path, body: Buffer.from(body) }),
    ]) {
      assert.is(answer.status, 403);
      assert.is(answer.body.code, "peer_not_approved");
    }
  }
  const follow = peer.activity({ type: "Follow", object: `${west.origin}/actor` });
  assert.is((await peer.post(west.origin, follow)).body.code, "peer_not_approved", "a Follow does not end it");
  assert.is((await act("suspend")).body.code, "state_conflict");
  assert.is((await act("resume")).body.state, "approved");
  assert.is((await peer.post(west.origin, note())).status, 202);
  assert.is((await act("resume")).body.code, "state_conflict");
  assert.is(peer.arrivals.length, before);
});

test("what is for a suspended peer is held, what comes from it waits there, and all arrives when it is resumed", async () => {
  const act = verbOf(west, south);
  await settle(west, south);
  assert.is((await act("suspend")).status, 200);
  assert.is(await stateOf(south, west), "approved", "the other side is not told");
  ofWest = await revise(ouest, ofWest, sud);
  ofSouth = await revise(sud, ofSouth, ouest);
  await until("the other side was refused", async () => {
    const { lane } = (await findPeer(south, west.origin)) as { lane: Json };
    return (lane.last_error as Json | null)?.code === "peer_not_approved";
  });
  const [held] = await heldAt(west, south);
  assert.is(held?.state, "held");
  assert.is(held?.attempts, 0);
  const retried = await west.admin.ok("POST", `/deliveries/${String(held?.id)}/retry`, {});
  assert.equal([retried.state, retried.next_attempt_at], ["held", null], "its peer is suspended all the same");
  assert.equal(await west.admin.list("/deliveries?state=queued"), []);
  const lane = (await findPeer(west, south.origin))?.lane as Json;
  assert.equal([lane.state, lane.depth, lane.next_attempt_at], ["held", 1, null]);
  assert.is((await readProject(sud, String(ofWest.id)))?.revision, 1);
  assert.is((await readProject(ouest, String(ofSouth.id)))?.revision, 1);
  assert.is((await south.admin.list("/deliveries?state=dead")).length, 0);

  assert.is((await act("resume")).body.state, "approved");
  await untilRevision(sud, ofWest);
  await untilRevision(ouest, ofSouth);
});

test("a restart keeps a suspension", async () => {
  const act = verbOf(west, south);
  await act("suspend");
  await west.stop();
  await west.start();
  assert.is(await stateOf(west, south), "suspended");
  ofWest = await revise(ouest, ofWest, sud);
  assert.is((await heldAt(west, south))[0]?.state, "held");
  await verbOf(west, south)("resume");
  await untilRevision(sud, ofWest);
});

test("a peer's policy says what it may send", async () => {
  const { id } = (await findPeer(west, peer.origin)) as Json;
  const set = async (policy: Json) => await west.admin.call("PATCH", `/peers/${String(id)}`, { policy });
  const changed = await set({ activities: ["Announce"] });
  assert.equal((changed.body.policy as Json).activities, ["Announce"]);
  assert.is((changed.body.policy as Json).platforms, "all", "what is not named stays");
  const refused = await peer.post(west.origin, note());
  assert.is(refused.status, 403);
  assert.is(refused.body.code, "peer_policy");
  assert.is((await peer.post(west.origin, note({ type: "Announce" }))).status, 202);
  await set({ activities: "all" });
  assert.is((await peer.post(west.origin, note())).status, 202);
});

test("a peer's policy says of which platforms it learns; what it may learn of later is introduced then", async () => {
  const { id } = (await findPeer(west, south.origin)) as Json;
  await west.admin.ok("PATCH", `/peers/${String(id)}`, { policy: { platforms: ["ouest"] } });
  const quiet = await joinPlatform(west, "discret");
  await settle(west);
  const known = async () => (await sud.rest.list("/platforms/recipients")).map(({ uri }) => uri);
  assert.not.ok((await known()).includes(quiet.uri));
  assert.ok((await known()).includes(ouest.uri));
  await west.admin.ok("PATCH", `/peers/${String(id)}`, { policy: { platforms: ["ouest", "discret"] } });
  await untilKnown(sud, quiet);
});

test("who followed revokes by an Undo: copies go on both sides, and owners are told", async () => {
  const undone = await verbOf(west, south)("revoke");
  assert.is(undone.body.state, "revoked", JSON.stringify(undone.body));
  assert.is(await readProject(ouest, String(ofSouth.id)), undefined, "at once on this side");
  await until("the Undo arrives", async () => (await stateOf(south, west)) === "revoked");
  assert.is(await readProject(sud, String(ofWest.id)), undefined);
  const [sent] = await west.admin.list(`/deliveries?peer=${encodeURIComponent(south.origin)}`);
  assert.is(sent?.type, "Undo");
  await settle(west);
  for (const [node, owner, object] of [
    [west, ouest, ofWest],
    [south, sud, ofSouth],
  ] as const) {
    assert.is((await readProject(owner, String(object.id)))?.revision, object["hf:revision"], "the owner keeps it");
    const audit = await node.admin.list("/audit");
    const told = audit.filter((entry) => entry.action === "project.unreachable");
    assert.equal(
      told.map((entry) => entry.object),
      [object.id],
    );
    assert.ok(audit.some(({ action }) => action === "project.unshared"));
    const rows = await node.admin.list("/projects?include=object");
    assert.not.ok(rows.some((row) => "object" in row || "owner_object" in row));
  }
});

test("a revoked peer posts nothing, gets nothing, and its platforms are not offered any more", async () => {
  const next = await sealNext(sud, ofSouth, { grants: [{ to: ouest }] });
  const { id } = (await readProject(sud, String(ofSouth.id))) as Json;
  const shared = await sud.rest.call("PATCH", `/projects/${String(id)}`, { object: next });
  assert.is(shared.status, 422);
  assert.is(shared.body.code, "unknown_reference");
  assert.not.ok((await sud.rest.list("/platforms/recipients")).some(({ uri }) => uri === ouest.uri));
  assert.is((await verbOf(west, south)("resume")).body.code, "state_conflict");
});

test("a scripted peer that is revoked is told by a Reject of its Follow, and refused on every inbox", async () => {
  const follow = (peer.arrivals.find(({ activity }) => activity.type === "Accept") as { activity: Json }).activity
    .object;
  await verbOf(west, peer)("revoke");
  const told = await until("the Reject arrives", () =>
    peer.arrivals.find(({ activity }) => activity.type === "Reject"),
  );
  assert.is(told.activity.object, follow);
  const answer = await peer.post(west.origin, note());
  assert.is(answer.status, 403);
  assert.is(answer.body.code, "peer_not_approved");
});

test("a scripted peer ends the peering by an Undo of its own Follow, and of no other", async () => {
  await approveScriptedAgain();
  const follow = peer.arrivals.filter(({ activity }) => activity.type === "Accept").at(-1)?.activity.object;
  const undo = (object: unknown) => peer.activity({ type: "Undo", object });
  const wrong = await peer.post(west.origin, undo(`${peer.origin}/activities/other`));
  assert.is(wrong.status, 409);
  assert.is(wrong.body.code, "state_conflict");
  assert.is((await peer.post(west.origin, undo(follow))).status, 202);
  assert.is((await findPeer(west, peer.origin))?.state, "revoked");
  assert.is((await peer.post(west.origin, note())).body.code, "peer_not_approved");
});

test("after a revocation a new Follow is pending again; approved, both share anew by a new revision", async () => {
  await makePeers(south, west);
  await untilKnown(sud, ouest);
  await untilKnown(ouest, sud);
  assert.is(
    await readProject(ouest, String(ofSouth.id)),
    undefined,
    "what was shared before does not come back by itself",
  );
  ofSouth = await revise(sud, ofSouth, ouest);
  await untilRevision(ouest, ofSouth);
});

test("who was followed revokes by a Reject of the newest Follow, not by an Undo of one that ended before", async () => {
  await verbOf(west, south)("revoke");
  await until("the Reject arrives", async () => (await stateOf(south, west)) === "revoked");
  const [sent] = await west.admin.list(`/deliveries?peer=${encodeURIComponent(south.origin)}`);
  assert.is(sent?.type, "Reject");
});

test("a peering that began by asking, instead of opening what the other asked, is ended by either side", async () => {
  await west.admin.ok("POST", "/peers", { origin: south.origin });
  await until("the request arrives", async () => (await stateOf(south, west)) === "pending_in");
  await south.admin.ok("POST", "/peers", { origin: west.origin });
  const approved = async () => [await stateOf(west, south), await stateOf(south, west)];
  await until("both are peers", async () => (await approved()).every((state) => state === "approved"));
  await settle(west, south);
  await verbOf(west, south)("revoke");
  await until("the other side hears of it", async () => (await stateOf(south, west)) === "revoked");
});

/** After a revocation: it follows once more, and the administrator opens and approves. */
async function approveScriptedAgain(): Promise<void> {
  const accepts = () => peer.arrivals.filter(({ activity }) => activity.type === "Accept").length;
  const before = accepts();
  assert.is(
    (await peer.post(west.origin, peer.activity({ type: "Follow", object: `${west.origin}/actor` }))).status,
    202,
  );
  assert.is((await findPeer(west, peer.origin))?.state, "pending_in");
  await verbOf(west, peer)("open");
  assert.is((await verbOf(west, peer)("approve")).status, 200);
  await until("the Accept is delivered", () => accepts() > before);
}

test.run();
