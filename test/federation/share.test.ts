// time limit: 240 s
import * as assert from "uvu/assert";
import { decodeMultikey } from "../../src/crypto/keys.ts";
import { verifyReceipt } from "../../src/crypto/receipts.ts";
import { mintId } from "../../src/protocol/ids.ts";
import { findPeer, makePeers, type Store, settle, startNode, type TestNode } from "../harness/node.ts";
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
import { freshDatabaseUrl, noPostgres } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

const hasPostgres = (await freshDatabaseUrl()) !== undefined;

declareSuite("pglite", "pglite");
declareSuite("postgres", "pglite");

/** Sharing between a node on `west`'s store and one on `south`'s. */
function declareSuite(westStore: Store, southStore: Store): void {
  const name = `sharing, ${westStore} × ${southStore}`;
  const test = westStore === "postgres" && !hasPostgres ? skipSuite(name, noPostgres) : suite(name);
  let west: TestNode;
  let south: TestNode;
  let owner: TestPlatform;
  let neighbour: TestPlatform;
  let reader: TestPlatform;
  let second: TestPlatform;
  let shared: Json;

  test.before(async () => {
    [west, south] = await Promise.all([startNode({ store: westStore }), startNode({ store: southStore })]);
    owner = await joinPlatform(west, "ouest");
    neighbour = await joinPlatform(west, "voisin");
    reader = await joinPlatform(south, "sud");
    second = await joinPlatform(south, "sud-2");
  });
  test.after(async () => {
    await Promise.all([west[Symbol.asyncDispose](), south[Symbol.asyncDispose]()]);
  });

  const post = async (object: Json) => await owner.rest.ok("POST", "/projects", { object });
  const projectOf = (platform: TestPlatform, object = shared) => readProject(platform, String(object.id));
  const untilRevision = (platform: TestPlatform, revision: number, object = shared) =>
    until(`${platform.handle} holds revision ${revision}`, async () => {
      const project = await projectOf(platform, object);
      return project?.revision === revision ? project : null;
    });

  test("one node asks, the other opens what it asked, compares and approves; both are peers then", async () => {
    const asked = await south.admin.ok("POST", "/peers", { origin: west.origin });
    assert.is(asked.state, "pending_out");
    const pending = await until("the Follow arrives", () => findPeer(west, south.origin));
    assert.is(pending.state, "pending_in");
    assert.is(pending.fingerprint, null);

    const early = await west.admin.call("POST", `/peers/${String(pending.id)}/approve`, {});
    assert.is(early.status, 409);
    assert.is(early.body.code, "state_conflict");

    const opened = await west.admin.ok("POST", `/peers/${String(pending.id)}/open`, {});
    assert.is(opened.signature_verified, true);
    assert.match(String(opened.fingerprint), /^[0-9a-f]{4}( [0-9a-f]{4}){5}$/);

    const wrong = { fingerprint: "0000 0000 0000 0000 0000 0000" };
    const refused = await west.admin.call("POST", `/peers/${String(pending.id)}/approve`, wrong);
    assert.is(refused.status, 409);
    assert.is(refused.body.code, "fingerprint_mismatch");

    const right = { fingerprint: opened.fingerprint };
    assert.is((await west.admin.ok("POST", `/peers/${String(pending.id)}/approve`, right)).state, "approved");
    await until("the Accept arrives", async () => (await findPeer(south, west.origin))?.state === "approved");
  });

  test("each node learns the other's platforms and their keys", async () => {
    await untilKnown(owner, reader, second);
    await untilKnown(reader, owner, neighbour);
    const [entry] = (await owner.rest.list("/platforms/recipients")).filter(({ uri }) => uri === reader.uri);
    assert.is(entry?.handle, "sud");
    assert.is(entry?.name, "Platform sud");
    const published = await owner.rest.ok("GET", `/platforms/${String(entry?.id)}/key-bundle`);
    assert.equal(published, { bundle: reader.bundle, membership: reader.membership });
  });

  test("a shared project reaches its grantee as it was sealed, opens there, and nobody else sees it", async () => {
    const content = { description: "Cohorte de suivi", people: [{ name: "Anne" }] };
    shared = await sealProject(owner, { code: "P1", grants: [{ to: reader }, { to: neighbour }], content });
    const created = await post(shared);
    assert.is(created.revision, 1);
    assert.is(created.access, "owner");

    const received = await untilRevision(reader, 1);
    assert.equal(received.object, shared);
    assert.is(received.access, "readonly");
    assert.is(received.code, "P1");
    assert.is(received.owner_uri, owner.uri);
    assert.equal(await openAs(reader, owner, received.object as Json), content);
    assert.is(await projectOf(second), undefined);
  });

  test("a platform of the same node reads it by a row, and the node posts nothing to itself", async () => {
    const project = await projectOf(neighbour);
    assert.is(project?.access, "readonly");
    assert.equal(project?.object, shared);
    const origins = new Set((await west.admin.list("/deliveries")).map(({ peer }) => peer));
    assert.equal([...origins], [south.origin]);
    assert.is(await findPeer(west, west.origin), undefined);

    const inside = await sealProject(owner, { code: "P-inside", grants: [{ to: neighbour }] });
    const before = (await west.admin.list("/deliveries")).length;
    await post(inside);
    assert.is((await projectOf(neighbour, inside))?.revision, 1);
    assert.is((await west.admin.list("/deliveries")).length, before);
  });

  test("two grantees of one node get one delivery and one copy", async () => {
    const grants = [{ to: reader }, { to: second, mode: "editable" as const }];
    const both = await sealProject(owner, { code: "P-both", grants });
    await post(both);
    const received = [await untilRevision(reader, 1, both), await untilRevision(second, 1, both)];
    assert.equal(
      received.map(({ access }) => access),
      ["readonly", "editable"],
    );
    assert.is(received[0]?.id, received[1]?.id);
    const creates = (await south.admin.list("/audit")).filter(
      ({ action, object }) => action === "project.shared" && object === both.id,
    );
    assert.is(creates.length, 1);
  });

  test("an edit and another grantee arrive as the next revisions", async () => {
    const id = String((await projectOf(owner))?.id);
    const grants = [{ to: reader }, { to: neighbour }];
    shared = await sealNext(owner, shared, { grants, clear: { name: "Renamed" }, content: { description: "two" } });
    await owner.rest.ok("PATCH", `/projects/${id}`, { object: shared });
    assert.is((await untilRevision(reader, 2)).name, "Renamed");

    shared = await sealNext(owner, shared, { grants: [...grants, { to: second }] });
    await owner.rest.ok("POST", `/projects/${id}/share`, { object: shared });
    assert.equal((await untilRevision(second, 3)).object, shared);
    assert.equal((await untilRevision(reader, 3)).object, shared);
  });

  test("a revision that is not the next one is refused with the current one", async () => {
    const id = String((await projectOf(owner))?.id);
    const { "hf:sealed": _, ...clear } = shared;
    const grants = [{ to: reader }, { to: neighbour }, { to: second }];
    const stale = await sealNext(owner, { ...clear, "hf:revision": 1 }, { grants });
    const answer = await owner.rest.call("PATCH", `/projects/${id}`, { object: stale });
    assert.is(answer.status, 409);
    assert.is(answer.body.code, "revision_stale");
    assert.is(answer.body.current_revision, 3);
  });

  test("who is withdrawn loses the project, the others keep it; a later grant gives it back", async () => {
    const id = String((await projectOf(owner))?.id);
    shared = await sealNext(owner, shared, { grants: [{ to: neighbour }, { to: second }] });
    await owner.rest.ok("POST", `/projects/${id}/unshare`, { object: shared });
    await until("the reader loses it", async () => (await projectOf(reader)) === undefined);
    assert.is((await untilRevision(second, 4)).revision, 4);

    shared = await sealNext(owner, shared, { grants: [{ to: neighbour }, { to: second }, { to: reader }] });
    await owner.rest.ok("POST", `/projects/${id}/share`, { object: shared });
    assert.equal((await untilRevision(reader, 5)).object, shared);
  });

  test("when the last platform of a node is withdrawn, the ciphertext goes there", async () => {
    const id = String((await projectOf(owner))?.id);
    shared = await sealNext(owner, shared, { grants: [{ to: neighbour }] });
    await owner.rest.ok("POST", `/projects/${id}/unshare`, { object: shared });
    await until("both lose it", async () => !(await projectOf(reader)) && !(await projectOf(second)));
    await until("the administrator of the other node sees a row without content", async () => {
      const [row] = await south.admin.list(`/projects?uri=${encodeURIComponent(String(shared.id))}`);
      return row !== undefined && !("object" in row);
    });
  });

  test("a deleted project is gone everywhere, and its tombstone stays", async () => {
    const doomed = await sealProject(owner, { code: "P-doomed", grants: [{ to: reader }, { to: neighbour }] });
    const { id } = await post(doomed);
    await untilRevision(reader, 1, doomed);
    assert.is((await owner.rest.call("DELETE", `/projects/${String(id)}`)).status, 204);
    await until("the reader loses it", async () => (await projectOf(reader, doomed)) === undefined);
    assert.is(await projectOf(neighbour, doomed), undefined);
    assert.is((await owner.rest.call("GET", `/projects/${String(id)}`)).status, 404);
    assert.is((await owner.rest.call("POST", "/projects", { object: doomed })).status, 409);
  });

  test("what is shared again after a deletion under another id arrives", async () => {
    const again = await sealProject(owner, {
      code: "P-doomed",
      grants: [{ to: reader }],
      uri: mintId(west.origin, "projects"),
    });
    await post(again);
    await untilRevision(reader, 1, again);
  });

  test("every delivery has a receipt that verifies, and both sides hold the same", async () => {
    await settle(west, south);
    for (const [from, to] of [
      [west, south],
      [south, west],
    ] as const) {
      const deliveries = await from.admin.list("/deliveries");
      assert.ok(deliveries.length > 0);
      const receipts = await from.admin.list("/receipts?direction=in");
      const given = new Map(
        (await to.admin.list("/receipts?direction=out")).map((receipt) => [receipt.activity, receipt]),
      );
      for (const delivery of deliveries) {
        if (delivery.type === "Follow" || delivery.state === "cancelled") continue;
        assert.is(delivery.state, "delivered");
        assert.is(delivery.receipt, true, `${String(delivery.type)} has a receipt`);
        const held = receipts.find(({ activity }) => activity === delivery.activity);
        assert.is(held?.jws, given.get(delivery.activity)?.jws, `${String(delivery.type)}: the receipts are the same`);
        const payload = JSON.parse(Buffer.from(String(held?.jws).split(".")[1] ?? "", "base64url").toString()) as Json;
        assert.is(payload.iss, to.origin);
        assert.is(payload.to, from.origin);
        assert.is(payload.effect, "applied");
      }
    }
  });

  test("a receipt proves the exact activity, by the key in the receiver's actor document", async () => {
    const actor = (await (await fetch(`${south.origin}/actor`)).json()) as Json;
    const [multikey] = actor.assertionMethod as Json[];
    const key = decodeMultikey(String(multikey?.publicKeyMultibase));
    assert.ok(key);
    if (west.store !== "postgres") return;
    const rows = await west.query(
      "select a.body, d.receipt from deliveries d join activities a on a.id = d.activity_id where d.receipt is not null",
    );
    assert.ok(rows.length > 5);
    const expected = { self: west.origin, peer: south.origin, keys: [key], now: new Date() };
    for (const { body, receipt } of rows) {
      const activity = body as Json;
      assert.is((await verifyReceipt(receipt, { ...expected, activity })).accepted, true);
      const forged = await verifyReceipt(receipt, { ...expected, activity: { ...activity, type: "Other" } });
      assert.is(forged.accepted, false);
    }
  });

  test("both journals verify from the first entry to the last", async () => {
    for (const node of [west, south]) {
      const verdict = await node.admin.ok("GET", "/audit/verification");
      assert.is(verdict.verified, true);
    }
  });

  test.run();
}

const peering = suite("peering");
let nodes: TestNode[] = [];
peering.before(async () => {
  nodes = [await startNode(), await startNode(), await startNode()];
});
peering.after(async () => {
  await Promise.all(nodes.map((node) => node[Symbol.asyncDispose]()));
});
const nodeAt = (at: number) => nodes[at] as TestNode;

peering("requests that cross make both sides peers without a further approval", async () => {
  const [one, other] = [nodeAt(0), nodeAt(1)];
  await Promise.all([
    one.admin.call("POST", "/peers", { origin: other.origin }),
    other.admin.call("POST", "/peers", { origin: one.origin }),
  ]);
  // Whichever came first: an administrator who finds a request of the other side may ask, too, and has said yes with it.
  await until("both are peers", async () => {
    const states = [await findPeer(one, other.origin), await findPeer(other, one.origin)].map((peer) => peer?.state);
    if (states[0] === "pending_in") await one.admin.call("POST", "/peers", { origin: other.origin });
    if (states[1] === "pending_in") await other.admin.call("POST", "/peers", { origin: one.origin });
    return states.every((state) => state === "approved");
  });
  await settle(one, other);
});

peering("a rejected request ends on both sides, and a new one is pending again", async () => {
  const [one, other] = [nodeAt(0), nodeAt(2)];
  await one.admin.ok("POST", "/peers", { origin: other.origin });
  const pending = await until("the request arrives", () => findPeer(other, one.origin));
  await other.admin.ok("POST", `/peers/${String(pending.id)}/open`, {});
  assert.is((await other.admin.ok("POST", `/peers/${String(pending.id)}/reject`, {})).state, "rejected");
  await until("the Reject arrives", async () => (await findPeer(one, other.origin))?.state === "rejected");

  await makePeers(one, other);
});

peering("an origin that does not answer, and this node itself, are refused with what went wrong", async () => {
  const node = nodeAt(1);
  const silent = await node.admin.call("POST", "/peers", { origin: "http://127.0.0.1:9" });
  assert.is(silent.status, 502);
  assert.is(silent.body.code, "actor_unreachable");
  const self = await node.admin.call("POST", "/peers", { origin: node.origin });
  assert.is(self.status, 422);
  assert.is(self.body.code, "actor_refused");
  assert.is(await findPeer(node, "http://127.0.0.1:9"), undefined);
});

peering.run();
