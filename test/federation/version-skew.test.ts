// time limit: 120 s
import * as assert from "uvu/assert";
import { makePeers, settle, startNode, type TestNode } from "../harness/node.ts";
import { type PatchedProgram, patchProgram } from "../harness/patched-program.ts";
import {
  joinPlatform,
  openAs,
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

/**
 * Nodes of two versions (docs/protocol.md, "Identifiers and documents"): tomorrow's declares a newer protocol, whose
 * projects have a member more and whose directory entries are of a type that today's does not know.
 */
const test = suite("version skew");

const member = "hf:ofTomorrow";
let tomorrow: PatchedProgram;
let newer: TestNode;
let west: TestNode;
let north: TestNode;
/** Owner and editor on the newer node; one of today's platforms is an editor, the other a reader. */
let neuf: TestPlatform;
let ouest: TestPlatform;
let nord: TestPlatform;

test.before(async () => {
  tomorrow = await patchProgram(
    { file: "protocol/activities.js", from: "protocolVersion = 1;", to: "protocolVersion = 2;" },
    {
      file: "protocol/objects.js",
      from: '"hf:sealed": z.unknown().optional(),',
      to: `"hf:sealed": z.unknown().optional(), ${JSON.stringify(member)}: z.string().optional(),`,
    },
    // Before every snapshot goes an activity of a type that nobody knows yet.
    {
      file: "outbox/append.js",
      from: "const appended = await appendActivity(tx, context, outgoing, destinations);",
      to: `await appendActivity(tx, context, { type: "hf:Tomorrow", actor: outgoing.actor, to: outgoing.to, object: outgoing.objectUri, members: { "hf:new": [1] } }, destinations);
        const appended = await appendActivity(tx, context, outgoing, destinations);`,
    },
  );
  [newer, west, north] = await Promise.all([
    startNode({ child: true, program: tomorrow.program }),
    startNode(),
    startNode(),
  ]);
  neuf = await joinPlatform(newer, "neuf");
  ouest = await joinPlatform(west, "ouest");
  nord = await joinPlatform(north, "nord");
  await makePeers(newer, west);
  await makePeers(newer, north);
  await makePeers(west, north);
  await untilKnown(neuf, ouest, nord);
  await untilKnown(ouest, neuf, nord);
});
test.after(async () => {
  await Promise.all([newer, west, north].map((node) => node[Symbol.asyncDispose]()));
  await tomorrow[Symbol.asyncDispose]();
});

const holds = (platform: TestPlatform, object: Json) =>
  until(`${platform.handle} holds revision ${String(object["hf:revision"])}`, async () => {
    const found = await readProject(platform, String(object.id));
    return found?.revision === object["hf:revision"] ? found : null;
  });
const patch = async (platform: TestPlatform, object: Json) => {
  const found = (await readProject(platform, String(object.id))) as Json;
  return await platform.rest.call("PATCH", `/projects/${String(found.id)}`, { object });
};

/** Nothing waits, nothing is dead, no node refused anything of another. */
async function assertNothingLost(): Promise<void> {
  await settle(newer, west, north);
  for (const node of [newer, west, north]) {
    assert.equal(await node.admin.list("/deliveries?state=dead"), []);
    assert.equal(
      (await node.admin.list("/audit")).filter(({ action }) => action === "activity.refused"),
      [],
    );
  }
}

test("what a newer node sends is kept whole, opened by its grantees, and shown to nobody", async () => {
  const grants = [{ to: ouest, mode: "editable" as const }, { to: nord }];
  const object = await sealProject(neuf, { code: "V1", grants, clear: { [member]: "kept" } });
  assert.is((await neuf.rest.call("POST", "/projects", { object })).status, 201);
  for (const platform of [ouest, nord]) {
    const { object: held, ...shown } = await holds(platform, object);
    assert.equal(held, object);
    assert.not.ok(JSON.stringify(shown).includes("kept"));
    assert.equal(await openAs(platform, neuf, held as Json), { description: "V1" });
  }
  await assertNothingLost();
  const effects = (await west.admin.list("/receipts?direction=out")).map(({ effect }) => effect);
  assert.ok(effects.includes("unhandled"), "the unknown type has a receipt");

  // An edit on today's node keeps what it does not understand, and adds nothing of its own.
  const edited = await sealEdit(ouest, neuf, object, { grants, clear: { name: "Edited today" } });
  assert.is((await patch(ouest, edited)).status, 200);
  for (const platform of [neuf, nord]) assert.equal((await holds(platform, edited)).object, edited);
  const leak = await sealEdit(ouest, neuf, edited, { grants, clear: { "hf:leak": "in clear" } });
  const refused = await patch(ouest, leak);
  assert.is(refused.status, 422);
  assert.equal([refused.body.code, refused.body.members], ["clear_field_refused", ["hf:leak"]]);
  const changed = await sealEdit(ouest, neuf, edited, { grants, clear: { [member]: "changed" } });
  assert.is((await patch(ouest, changed)).body.code, "clear_field_refused");
  await assertNothingLost();
});

test("an edit from a newer node goes through today's node of the owner, and on to today's readers", async () => {
  const grants = [{ to: neuf, mode: "editable" as const }, { to: nord }];
  const object = await sealProject(ouest, { code: "V2", grants });
  assert.is((await ouest.rest.call("POST", "/projects", { object })).status, 201);
  await holds(neuf, object);
  const edited = await sealEdit(neuf, ouest, object, { grants, clear: { [member]: "added" } });
  assert.is((await patch(neuf, edited)).status, 200);
  for (const platform of [ouest, neuf, nord]) assert.equal((await holds(platform, edited)).object, edited);
  // The owner goes on with it, on a node that does not know the member.
  const next = await sealNext(ouest, edited, { grants });
  assert.is((await patch(ouest, next)).status, 200);
  for (const platform of [neuf, nord]) assert.equal((await holds(platform, next)).object, next);
  await assertNothingLost();
});

test("at our own version a member that nobody knows is refused where it is submitted", async () => {
  const object = await sealProject(ouest, { code: "V3", grants: [], clear: { [member]: "a slip" } });
  const answer = await ouest.rest.call("POST", "/projects", { object });
  assert.is(answer.status, 422);
  assert.equal([answer.body.code, answer.body.members], ["clear_field_refused", [member]]);
});

test.run();
