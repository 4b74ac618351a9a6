// time limit: 120 s
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import type { JsonObject } from "../../src/protocol/objects.ts";
import { run } from "../cli/terminal.ts";
import { startNode, type TestNode } from "../harness/node.ts";
import { peopleIn } from "../harness/people.ts";
import { suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

/**
 * Three platforms on three nodes, of which two are not peers: sharing, editing by grantees, withdrawing and leaving with
 * the commands, and with what the SDK verifies. The bundles beside the snapshots are all that south and north know of
 * each other.
 */
const test = suite("sharing with the commands, on three nodes");

const nodes: Record<"west" | "south" | "north", TestNode> = {} as never;
let directory: string;
let { command, result, rows, refusal, settingsOf } = peopleIn("");

const people = { west: "ouest", south: "sud", north: "nord" } as const;
const hostOf = (name: keyof typeof nodes) => new URL(nodes[name].origin).host;
const addressOf = (name: keyof typeof nodes) => `${people[name]}@${hostOf(name)}`;
const actorOf = (name: keyof typeof nodes) => `${nodes[name].origin}/platforms/${people[name]}`;

test.before(async () => {
  directory = await mkdtemp(join(tmpdir(), "concordat-sharing-"));
  ({ command, result, rows, refusal, settingsOf } = peopleIn(directory));
  [nodes.west, nodes.south, nodes.north] = await Promise.all([startNode(), startNode(), startNode()]);
  for (const name of ["west", "south", "north"] as const) {
    const handle = people[name];
    const key = join(directory, `${handle}.key`);
    await result(`admin-${name}`, "admin", "login", nodes[name].origin);
    await result(`admin-${name}`, "admin", "platforms", "create", handle, "--handle", handle, "--access-key-file", key);
    await result(handle, "join", nodes[name].origin, "--handle", handle, "--access-key-file", key);
  }
});
test.after(async () => {
  await Promise.all(Object.values(nodes).map((node) => node[Symbol.asyncDispose]()));
  await rm(directory, { recursive: true });
});

const change = async (members: JsonObject): Promise<string> => {
  const file = join(directory, "change.json");
  await writeFile(file, JSON.stringify(members));
  return file;
};
const shown = async (person: string) => await result(person, "projects", "show", "S-1");
const untilRevision = (person: string, revision: number) =>
  until(`${person} opens revision ${revision}`, async () => {
    const opened = await shown(person);
    return (opened.project as JsonObject).revision === revision ? opened : null;
  });
const stateAt = async (admin: keyof typeof nodes, peer: keyof typeof nodes) =>
  await result(`admin-${admin}`, "admin", "peers", "show", nodes[peer].origin);

test("an invitation makes two instances peers, once, and for the instance that it names", async () => {
  for (const name of ["south", "north"] as const) {
    const invite = ["admin", "peers", "invite", "--for", nodes[name].origin, "--until", "2099-01-01"];
    const { invitation } = await result("admin-west", ...invite);
    const other = name === "south" ? "north" : "south";
    const refused = await refusal(`admin-${other}`, "admin", "peers", "accept", String(invitation));
    assert.is(refused.code, "actor_refused");
    assert.is((await result(`admin-${name}`, "admin", "peers", "accept", String(invitation))).state, "pending_out");
    await until("both are peers", async () => {
      return (await stateAt("west", name)).state === "approved" && (await stateAt(name, "west")).state === "approved";
    });
  }
});

test("what is shared as editable is changed by a grantee, and verified by another that is no peer of its node", async () => {
  const file = await change({ code: "S-1", name: "First", sealed: { by: "ouest" } });
  await result("ouest", "projects", "create", "--file", file);
  for (const name of ["south", "north"] as const) {
    await until("its platform is known", async () => {
      return (await command("ouest", "projects", "share", "S-1", addressOf(name), "--editable")).code === 0;
    });
  }
  await untilRevision("sud", 3);
  await untilRevision("nord", 3);

  const edited = await result("sud", "projects", "edit", "S-1", "--file", await change({ name: "By the south" }));
  assert.is(edited.applied, false, "the owner's node applies it");
  const opened = await untilRevision("nord", 4);
  assert.equal(opened.content, { by: "ouest" });
  assert.is((opened.project as JsonObject).name, "By the south");
  assert.is((opened.sealed_by as JsonObject).actor, actorOf("south"));

  await result("nord", "projects", "edit", "S-1", "--file", await change({ sealed: { by: "nord" } }));
  for (const person of ["sud", "ouest"]) {
    const next = await untilRevision(person, 5);
    assert.equal(next.content, { by: "nord" });
    assert.is((next.sealed_by as JsonObject).actor, actorOf("north"));
  }
  assert.is((await result("ouest", "projects", "edit", "S-1", "--file", await change({ name: "Own" }))).applied, true);
  await untilRevision("sud", 6);
});

test("an edit of what has moved on meanwhile is said to be stale, and the next one goes on", async () => {
  await result("admin-west", "admin", "peers", "suspend", nodes.south.origin);
  assert.is((await stateAt("west", "south")).state, "suspended");
  await result("ouest", "projects", "edit", "S-1", "--file", await change({ name: "Faster" }));
  assert.is(
    (await result("sud", "projects", "edit", "S-1", "--file", await change({ name: "Slower" }))).applied,
    false,
  );
  const [held] = await rows("admin-west", "admin", "deliveries", "list", "--state", "held");
  const retried = await command("admin-west", "admin", "deliveries", "retry", String(held?.id));
  assert.match(retried.out, /is held.*peers resume/, "it is not said to be due");
  await result("admin-west", "admin", "peers", "resume", nodes.south.origin);
  await untilRevision("sud", 7);
  const dead = await until("the edit is given up", async () => {
    return (await rows("admin-south", "admin", "deliveries", "list", "--state", "dead"))[0];
  });
  assert.is((dead.last_error as JsonObject).code, "revision_stale");
  await result("sud", "projects", "edit", "S-1", "--file", await change({ name: "In time" }));
  for (const person of ["ouest", "nord"]) {
    assert.is(((await untilRevision(person, 8)).project as JsonObject).name, "In time");
  }
});

test("a grant is changed to read-only, and ended; both are the owner's to do", async () => {
  await result("ouest", "projects", "share", "S-1", addressOf("south"));
  await untilRevision("sud", 9);
  const edit = ["projects", "edit", "S-1", "--file", await change({ name: "No" })];
  assert.is((await refusal("sud", ...edit)).code, "not_owner");
  assert.is((await refusal("nord", "projects", "unshare", "S-1", addressOf("south"))).code, "not_owner");
  const nobody = `nobody@${hostOf("south")}`;
  assert.is((await refusal("ouest", "projects", "unshare", "S-1", nobody)).code, "not_shared");
  assert.is((await result("ouest", "projects", "unshare", "S-1", addressOf("south"))).revision, 10);
  await until("its copy goes", async () => (await rows("sud", "projects", "list")).length === 0);
  await untilRevision("nord", 10);
});

test("what cannot be undone is asked for, and done with --yes", async () => {
  const remove = ["projects", "delete", "S-1"];
  const unasked = await run([...remove, "--json"], { settings: settingsOf("ouest"), answers: ["n"] });
  assert.is(JSON.parse(unasked.err).code, "not_confirmed");
  await result("ouest", ...remove, "--yes");
  await until("it is gone at the grantee's", async () => (await rows("nord", "projects", "list")).length === 0);

  await result("nord", "leave", "--yes");
  assert.equal(await rows("nord", "instances"), []);
  assert.is((await refusal("nord", "projects", "list")).code, "no_membership");
  await result("admin-south", "admin", "platforms", "remove", "sud", "--yes");
  assert.is((await result("admin-south", "admin", "platforms", "show", "sud")).status, "removed");
});

test("a policy is shown and changed, and a peering ended", async () => {
  const policy = ["admin", "peers", "policy", nodes.north.origin];
  const set = [...policy, "--platforms", "ouest", "--activities", "all", "--per-minute", "100", "--per-day", "none"];
  const wanted = { platforms: ["ouest"], activities: "all", per_minute: 100, per_day: null };
  assert.equal((await result("admin-west", ...set)).policy, wanted);
  assert.equal((await result("admin-west", ...policy)).policy, wanted);
  assert.is((await result("admin-west", "admin", "peers", "revoke", nodes.north.origin, "--yes")).state, "revoked");
  await until("the other side is told", async () => (await stateAt("north", "west")).state === "revoked");
});

test.run();
