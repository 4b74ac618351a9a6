// time limit: 240 s
import * as assert from "uvu/assert";
import { makePeers, settle, startNode, type TestNode } from "../harness/node.ts";
import {
  type Change,
  type Grant,
  joinPlatform,
  openAs,
  readProject,
  rotateEncryption,
  sealEdit,
  sealNext,
  sealProject,
  type TestPlatform,
  untilKnown,
} from "../harness/platform.ts";
import type { Json } from "../harness/rest.ts";
import { suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

/** What becomes of a grant, wherever its grantee is at home, and also when that node is down meanwhile. */
const test = suite("grants");

const second = 1000;
let west: TestNode;
let south: TestNode;
let owner: TestPlatform;
let neighbour: TestPlatform;
let far: TestPlatform;
let other: TestPlatform;
/** How far the clocks of both nodes are ahead of this process's. */
let ahead = 0;
const now = () => new Date(Date.now() + ahead);
const after = (seconds: number) => new Date(now().getTime() + seconds * second).toISOString();

test.before(async () => {
  [west, south] = await Promise.all([startNode({ clock: now }), startNode({ clock: now })]);
  owner = await joinPlatform(west, "ouest");
  neighbour = await joinPlatform(west, "voisin");
  far = await joinPlatform(south, "sud");
  other = await joinPlatform(south, "sud-2");
  await makePeers(west, south);
  await untilKnown(owner, far, other);
});
test.after(async () => {
  await Promise.all([west, south].map((node) => node[Symbol.asyncDispose]()));
});

interface Situation {
  readonly name: string;
  readonly grantee: () => TestPlatform;
  /** Has a read-only grant all the time. */
  readonly bystander?: () => TestPlatform;
  /** Done around each change that the owner makes to its project. */
  readonly meanwhile: (change: () => Promise<void>) => Promise<void>;
}

const atOnce: Situation["meanwhile"] = (change) => change();
const whileDown: Situation["meanwhile"] = async (change) => {
  await south.stop();
  await change();
  await south.start();
};

const situations: readonly Situation[] = [
  { name: "across nodes", grantee: () => far, meanwhile: atOnce },
  { name: "within one node", grantee: () => neighbour, meanwhile: atOnce },
  { name: "to one of two on a node", grantee: () => far, bystander: () => other, meanwhile: atOnce },
  { name: "with the grantee's node down", grantee: () => far, bystander: () => other, meanwhile: whileDown },
];

/** A project in a situation: its newest snapshot, and what owner, grantee and bystander do with it and see of it. */
function projectIn(code: string, { grantee, bystander, meanwhile }: Situation) {
  let current: Json = {};
  const grantsWith = (grant: Omit<Grant, "to"> | null): readonly Grant[] => [
    ...(grant === null ? [] : [{ to: grantee(), ...grant }]),
    ...(bystander === undefined ? [] : [{ to: bystander() }]),
  ];
  const viewOf = (platform: TestPlatform) => readProject(platform, String(current.id));
  const idAt = async (platform: TestPlatform) => String((await viewOf(platform))?.id);
  const untilAt = (platform: TestPlatform) =>
    until(`${platform.handle} has revision ${String(current["hf:revision"])}`, async () => {
      const view = await viewOf(platform);
      return view?.revision === current["hf:revision"] ? view : null;
    });
  const arrived = async () => {
    if (bystander !== undefined) assert.equal((await untilAt(bystander())).object, current);
    await settle(west, south);
    for (const node of [west, south]) assert.equal(await node.admin.list("/deliveries?state=dead"), []);
  };
  return {
    id: () => String(current.id),
    async declare(grant: Omit<Grant, "to">) {
      current = await sealProject(owner, { code, grants: grantsWith(grant), now: now() });
      await owner.rest.ok("POST", "/projects", { object: current });
      await arrived();
    },
    async revise(verb: "edit" | "share" | "unshare", grant: Omit<Grant, "to"> | null) {
      await meanwhile(async () => {
        current = await sealNext(owner, current, { grants: grantsWith(grant), now: now() });
        const path = `/projects/${await idAt(owner)}`;
        if (verb === "edit") await owner.rest.ok("PATCH", path, { object: current });
        else await owner.rest.ok("POST", `${path}/${verb}`, { object: current });
      });
      await arrived();
    },
    /** The answer to an edit that leaves the grants as they are. */
    async edit(by: TestPlatform, grant: Omit<Grant, "to">, change: Partial<Change> = {}) {
      const grants = grantsWith(grant);
      const object = await sealEdit(by, owner, current, { grants, now: now(), ...change });
      const answer = await by.rest.call("PATCH", `/projects/${await idAt(by)}`, { object });
      if (answer.status === 200) current = object;
      return answer;
    },
    async delete() {
      await meanwhile(async () => {
        assert.is((await owner.rest.call("DELETE", `/projects/${await idAt(owner)}`)).status, 204);
      });
      await until("it is gone at the bystander's", async () => !bystander || !(await viewOf(bystander())));
      await settle(west, south);
    },
    viewOfGrantee: () => viewOf(grantee()),
    async isInInboxOfGrantee() {
      const { uri, rest } = grantee();
      const headers = { accept: "application/activity+json", authorization: `Bearer ${rest.token}` };
      const page = await fetch(`${uri}/inbox?page=true`, { headers });
      assert.is(page.status, 200);
      return (await page.text()).includes(String(current.id));
    },
    ownersView: () => untilAt(owner),
    async assertReads(access = "readonly") {
      const view = await untilAt(grantee());
      assert.is(view.access, access);
      assert.equal(view.object, current);
      await openAs(grantee(), owner, current);
    },
    async assertReadsNothing() {
      await until("the grantee reads nothing", async () => !(await viewOf(grantee())));
    },
  };
}

/** Lets time pass on both nodes. */
const wait = (seconds: number) => {
  ahead += seconds * second;
};

/** Projects that a grantee lost, and whether somebody else on its node still reads them. */
const lost: { readonly uri: string; readonly read: boolean }[] = [];

for (const [at, situation] of situations.entries()) {
  const { name, grantee, bystander } = situation;

  test(`${name}: a grant that begins later is neither readable nor sealed for until then`, async () => {
    const project = projectIn(`BEGIN-${at}`, situation);
    const grant = { from: after(330) };
    await project.declare(grant);
    assert.is(await project.viewOfGrantee(), undefined);
    assert.is(await project.isInInboxOfGrantee(), false);
    const early = await project.edit(owner, grant, { now: new Date(grant.from) });
    assert.is((await project.ownersView()).needs_reseal, false, "it has not begun");
    assert.is(early.status, 422);
    assert.is(early.body.code, "recipients_stale");
    assert.equal(early.body.platforms, [grantee().uri]);

    wait(60);
    const begun = await project.viewOfGrantee();
    assert.is(begun?.revision, 1, "it has begun: clocks may differ by five minutes");
    assert.is(begun?.needs_reseal, true);
    assert.is((await project.ownersView()).needs_reseal, true);
    await project.revise("edit", grant);
    await project.assertReads();
    assert.is((await project.viewOfGrantee())?.needs_reseal, false);
    assert.is((await project.ownersView()).needs_reseal, false);
    assert.is(await project.isInInboxOfGrantee(), grantee().node === south, "nothing is posted within a node");
  });

  test(`${name}: a grant ends by the clock, and is renewed`, async () => {
    const project = projectIn(`EXPIRY-${at}`, situation);
    const grant = { expires: after(60) };
    await project.declare(grant);
    await project.assertReads();
    wait(61);
    assert.is(await project.viewOfGrantee(), undefined);
    await project.revise("edit", grant);
    assert.is(await project.viewOfGrantee(), undefined);
    await project.revise("share", { expires: after(3600) });
    await project.assertReads();
  });

  test(`${name}: a grant becomes editable and read-only again; an edit after is not the grantee's`, async () => {
    const project = projectIn(`MODE-${at}`, situation);
    await project.declare({ mode: "readonly" });
    await project.assertReads();
    await project.revise("share", { mode: "editable" });
    await project.assertReads("editable");
    const edited = await project.edit(grantee(), { mode: "editable" }, { clear: { name: "By the grantee" } });
    assert.is(edited.status, 200, JSON.stringify(edited.body));
    assert.is((await project.ownersView()).name, "By the grantee");

    await project.revise("share", { mode: "readonly" });
    await project.assertReads("readonly");
    const refused = await project.edit(grantee(), { mode: "readonly" });
    assert.is(refused.status, 403);
    assert.is(refused.body.code, "not_owner");
  });

  test(`${name}: who is withdrawn loses it alone; shared again it comes back, and is lost again`, async () => {
    const project = projectIn(`WITHDRAWN-${at}`, situation);
    await project.declare({});
    await project.assertReads();
    await project.revise("unshare", null);
    await project.assertReadsNothing();
    await project.revise("share", { mode: "editable" });
    await project.assertReads("editable");
    await project.revise("unshare", null);
    await project.assertReadsNothing();
    if (grantee().node === south) lost.push({ uri: project.id(), read: bystander !== undefined });
  });

  test(`${name}: a deleted project is gone for everybody, and its id stays taken`, async () => {
    const project = projectIn(`DELETED-${at}`, situation);
    await project.declare({ mode: "editable" });
    await project.assertReads("editable");
    await project.delete();
    await project.assertReadsNothing();
    const object = await sealProject(owner, { code: `AGAIN-${at}`, uri: project.id(), now: now() });
    const taken = await owner.rest.call("POST", "/projects", { object });
    assert.is(taken.status, 409);
    assert.is(taken.body.code, "id_taken");
    if (grantee().node === south) lost.push({ uri: project.id(), read: false });
  });
}

test("a project is to be sealed again once its owner or a grantee has another key, wherever it is at home", async () => {
  const flags = (uri: string) =>
    Promise.all([owner, neighbour, far].map(async (one) => (await readProject(one, uri))?.needs_reseal));
  const untilFlagged = (uri: string, what: string, expected: readonly boolean[]) =>
    until(what, async () => JSON.stringify(await flags(uri)) === JSON.stringify(expected));
  const reseal = async (before: Json) => {
    const object = await sealNext(owner, before, { grants: [{ to: far }, { to: neighbour }], now: now() });
    const { id } = (await readProject(owner, String(before.id))) as Json;
    await owner.rest.ok("PATCH", `/projects/${String(id)}`, { object });
    await untilFlagged(String(object.id), "it is sealed again", [false, false, false]);
    return object;
  };
  let object = await sealProject(owner, { code: "RESEAL", grants: [{ to: far }, { to: neighbour }], now: now() });
  const uri = String(object.id);
  await owner.rest.ok("POST", "/projects", { object });
  await untilFlagged(uri, "it is shared", [false, false, false]);

  far = await rotateEncryption(far);
  await untilFlagged(uri, "the key of a grantee elsewhere", [true, true, true]);
  object = await reseal(object);
  neighbour = await rotateEncryption(neighbour);
  await untilFlagged(uri, "the key of a grantee here", [true, true, false]);
  object = await reseal(object);
  owner = await rotateEncryption(owner);
  await untilFlagged(uri, "the key of the owner", [true, true, false]);
  await reseal(object);
});

test("what happens while the grantee's node is down holds when it is back, also what the clock has changed", async () => {
  const declare = async (code: string, grants: readonly Grant[]) => {
    const object = await sealProject(owner, { code, grants, now: now() });
    const { id } = await owner.rest.ok("POST", "/projects", { object });
    return { id: String(id), object };
  };
  const again = await declare("DOWN-AGAIN", [{ to: far }]);
  await until("it is shared", () => readProject(far, String(again.object.id)));
  await south.stop();
  for (const [verb, grants] of [
    ["unshare", []],
    ["share", [{ to: far }]],
  ] as const) {
    again.object = await sealNext(owner, again.object, { grants, now: now() });
    await owner.rest.ok("POST", `/projects/${again.id}/${verb}`, { object: again.object });
  }
  const begun = await declare("DOWN-BEGUN", [{ to: far, from: after(330) }]);
  const ended = await declare("DOWN-ENDED", [{ to: far, expires: after(30) }, { to: other }]);
  wait(60);
  await south.start();
  await settle(west);
  assert.equal(await west.admin.list("/deliveries?state=dead"), []);
  const atGrantee = ({ object }: { readonly object: Json }) => readProject(far, String(object.id));
  assert.equal((await atGrantee(again))?.object, again.object);
  assert.is((await atGrantee(begun))?.needs_reseal, true, "sealed before it began");
  assert.is(await atGrantee(ended), undefined);
  assert.equal((await readProject(other, String(ended.object.id)))?.object, ended.object);
});

test("a node keeps the ciphertext only of what somebody there may read", async () => {
  await south.stop();
  const rows = await south.query("select uri, object is null as gone from objects");
  for (const { uri, read } of lost) {
    assert.is(rows.find((row) => row.uri === uri)?.gone, !read, `${uri} is ${read ? "kept" : "gone"}`);
  }
});

test.run();
