/** What must hold: at any time nobody sees more than a grant gives; at the end everybody sees the same, and all of it. */
import * as assert from "uvu/assert";
import { openAs } from "../harness/platform.ts";
import type { Json } from "../harness/rest.ts";
import { adopt, countLost, currentOf, digestOf, isLive, type ModelProject, type Snapshot } from "./model.ts";

import { adminOf, readAs, untilQuiet, type Walker, type WalkNode } from "./world.ts";
import type { Walk } from "./writes.ts";

/** What a grantee's edit may be refused with at the owner's node, when somebody was faster or the grant has ended. */
const refusedEdits = ["revision_stale", "recipients_stale", "not_owner", "not_found", "grants_refused"];

const listAs = async (walker: Walker): Promise<readonly Json[]> => {
  const answer = await walker.call("GET", "/projects?include=object&limit=200");
  return (answer?.body.items ?? []) as Json[];
};

/** Everything that a platform sees now was sealed by somebody, and grants it access there and now. */
export async function assertWithinGrants({ world, model }: Walk, walker: Walker): Promise<void> {
  const { uri } = walker.platform;
  for (const shown of await listAs(walker)) {
    const project = model.projects.find((one) => one.uri === shown.uri);
    if (!project) throw new Error(`${uri} sees a project that nobody declared`);
    const atHome = walker.node === world.walkerOf(project.owner).node;
    if (atHome && project.deleted) throw new Error(`${uri} sees ${project.code}, which is deleted`);
    if (project.owner === uri) continue;
    const snapshot = project.snapshots.get(digestOf(shown.object as Json));
    if (!snapshot) throw new Error(`${uri} sees a revision of ${project.code} that nobody sealed`);
    const grant = snapshot.grants.get(uri);
    if (isLive(grant, Date.now()) === false) {
      throw new Error(`${uri} sees revision ${snapshot.revision} of ${project.code} without a grant`);
    }
    assert.is(shown.access, grant?.mode, `what ${uri} may do with ${project.code}`);
  }
}

/** Waits until all is delivered and every platform sees what the owners' nodes hold, then looks at everything. */
export async function assertSameEverywhere(walk: Walk, patience: number): Promise<void> {
  const { world, model } = walk;
  await untilQuiet(world, patience);
  for (const project of model.projects) await adoptFromHome(walk, project);
  let dead = 0;
  for (const node of world.nodes) dead += await assertSound(node);
  const { least, most } = countLost(model.projects);
  assert.ok(least <= dead && dead <= most, `${dead} dead letters, ${least} to ${most} edits that came too late`);
  await assertSameReceipts(world);
  for (const walker of world.walkers) await assertSees(walk, walker);
}

async function adoptFromHome({ world }: Walk, project: ModelProject): Promise<void> {
  const shown = await readAs(world.walkerOf(project.owner), project.uri);
  assert.is(shown === undefined, project.deleted, `${project.code} is deleted or there`);
  if (shown !== undefined) adopt(project, shown.object as Json);
}

async function assertSees(walk: Walk, walker: Walker): Promise<void> {
  const { uri } = walker.platform;
  const shown = new Map((await listAs(walker)).map((row) => [String(row.uri), row]));
  for (const project of walk.model.projects) {
    const row = shown.get(project.uri);
    const snapshot = currentOf(project);
    const live = project.owner === uri || isLive(snapshot.grants.get(uri), Date.now());
    if (live === null) continue;
    const expected = live && !project.deleted;
    assert.is(row !== undefined, expected, `${uri} ${expected ? "does not see" : "sees"} ${project.code}`);
    if (row !== undefined) await assertOpens(walk, walker, project, snapshot, row);
  }
}

async function assertOpens(
  { world }: Walk,
  walker: Walker,
  project: ModelProject,
  snapshot: Snapshot,
  row: Json,
): Promise<void> {
  const where = `${project.code} at ${walker.platform.uri}`;
  assert.is(row.revision, snapshot.revision, `${where}: revision ${String(row.revision)} of ${snapshot.revision}`);
  assert.equal(row.object, snapshot.object, `${where}: the object`);
  const byOwner = snapshot.sender === project.owner;
  const ownersWord = (project.snapshots.get(project.ownersWord) as Snapshot).object;
  assert.equal(row.owner_object, byOwner ? undefined : ownersWord, `${where}: the owner's word`);
  const { platform: sender } = world.walkerOf(snapshot.sender);
  const opened = await openAs(walker.platform, sender, row.object as Json, byOwner ? undefined : ownersWord);
  assert.equal(opened, snapshot.content, `${where}: what is sealed`);
}

/** Receipts for what was delivered, no dead letter but of an edit that came too late, a journal without a gap. */
async function assertSound(node: WalkNode): Promise<number> {
  const admin = await adminOf(node);
  for (const { receipt, type, activity } of await admin.list("/deliveries?state=delivered")) {
    // A Follow is answered before anybody is a peer.
    assert.ok(receipt === true || type === "Follow", `${String(type)} ${String(activity)} has a receipt`);
  }
  const dead = await admin.list("/deliveries?state=dead");
  for (const { type, last_error: error } of dead) {
    assert.is(type, "Update", JSON.stringify(error));
    assert.ok(refusedEdits.includes(String((error as Json).code)), JSON.stringify(error));
  }
  assert.is((await admin.ok("GET", "/audit/verification")).verified, true);
  return dead.length;
}

/** Each receipt that a node holds is the one that its peer has given. */
async function assertSameReceipts({ nodes }: Walk["world"]): Promise<void> {
  const given = new Map<unknown, unknown>();
  for (const node of nodes) {
    const { origin } = node.node;
    for (const { activity, jws } of await receiptsOf(node, "out")) given.set(`${activity} by ${origin}`, jws);
  }
  for (const node of nodes) {
    for (const { activity, peer, jws } of await receiptsOf(node, "in")) {
      assert.is(jws, given.get(`${activity} by ${peer}`), `both sides hold the receipt of ${activity}`);
    }
  }
}

async function receiptsOf(node: WalkNode, direction: "in" | "out"): Promise<readonly Json[]> {
  return await (await adminOf(node)).list(`/receipts?direction=${direction}`);
}
