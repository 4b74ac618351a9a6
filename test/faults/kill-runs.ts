import * as assert from "uvu/assert";
import { canonicalJson } from "../../src/protocol/canonical-json.ts";
import { findPeer, makePeers, type Store, settle, startNode, type TestNode } from "../harness/node.ts";
import {
  joinPlatform,
  readProject,
  sealNext,
  sealProject,
  type TestPlatform,
  untilKnown,
} from "../harness/platform.ts";
import { createRandom } from "../harness/random.ts";
import type { Json, RestAnswer } from "../harness/rest.ts";
import { pause, until } from "../harness/until.ts";

export interface KillRun {
  readonly store: Store;
  readonly kills: number;
  /** The same seed kills the same side after the same time. */
  readonly seed: number;
}

/** Projects that are declared around each kill. */
const projectsPerKill = 4;
/** A kill comes at a random time of this span after the first write of its round, so before, while and after it is sent. */
const killSpan = 400;

/**
 * Shares projects between two nodes while one of them, by chance, is ended with SIGKILL and started again; then asserts
 * that nothing was lost and nothing doubled: the same objects on both sides, one `project.shared` for each object and
 * grantee, every delivery delivered with a receipt.
 */
export async function runKills({ store, kills, seed }: KillRun): Promise<void> {
  const random = createRandom(seed);
  const nodes = await Promise.all([startNode({ store, child: true }), startNode({ store, child: true })]);
  const [sender, receiver] = nodes;
  try {
    await makePeers(sender, receiver);
    const owner = await joinPlatform(sender, "owner");
    const grantees = [await joinPlatform(receiver, "first"), await joinPlatform(receiver, "second")];
    await untilKnown(owner, ...grantees);

    const declared: Json[] = [];
    for (let kill = 0; kill < kills; kill += 1) {
      const victim = random() < 0.5 ? sender : receiver;
      const delay = Math.floor(random() * killSpan);
      const writing = declareProjects(owner, grantees, `K${kill}`);
      const [written] = await Promise.all([writing, killAfter(victim, delay)]);
      declared.push(...written);
    }
    await assertNothingLost(sender, receiver, { owner, grantees, declared });
  } catch (error) {
    const tail = (node: TestNode) => node.log().split("\n").slice(-15).join("\n");
    throw new Error(`seed ${seed}\nsender:\n${tail(sender)}\nreceiver:\n${tail(receiver)}`, { cause: error });
  } finally {
    await Promise.all(nodes.map((node) => node[Symbol.asyncDispose]()));
  }
}

async function killAfter(victim: TestNode, milliseconds: number): Promise<void> {
  await pause(milliseconds);
  await victim.kill();
  await victim.start();
}

/** Declares projects and revises each second one; what the node did not answer is sent again as it was. */
async function declareProjects(
  owner: TestPlatform,
  grantees: readonly TestPlatform[],
  code: string,
): Promise<readonly Json[]> {
  const declared: Json[] = [];
  for (let count = 0; count < projectsPerKill; count += 1) {
    const grants = grantees.slice(0, 1 + (count % 2)).map((to) => ({ to }));
    const object = await sealProject(owner, { code: `${code}-${count}`, grants });
    const answer = await insist(() => owner.rest.call("POST", "/projects", { object }));
    assert.is(answer.status, 201, JSON.stringify(answer.body));
    if (count % 2 === 0) {
      declared.push(object);
      continue;
    }
    const next = await sealNext(owner, object, { grants });
    const path = `/projects/${String(answer.body.id)}`;
    const edited = await insist(() => owner.rest.call("PATCH", path, { object: next }));
    assert.is(edited.status, 200, JSON.stringify(edited.body));
    declared.push(next);
  }
  return declared;
}

/** Asks until the node answers: one that was killed in between may or may not have stored what it was sent. */
async function insist(ask: () => Promise<RestAnswer>): Promise<RestAnswer> {
  return await until(
    "the node answers",
    async () => {
      const answer = await ask();
      return answer.status < 500 ? answer : null;
    },
    90_000,
  );
}

interface Shared {
  readonly owner: TestPlatform;
  readonly grantees: readonly TestPlatform[];
  readonly declared: readonly Json[];
}

async function assertNothingLost(sender: TestNode, receiver: TestNode, shared: Shared): Promise<void> {
  const { owner, grantees, declared } = shared;
  await settle(sender, receiver);
  assert.is((await findPeer(sender, receiver.origin))?.state, "approved");
  const ownerView = await owner.rest.list("/projects?include=object");
  assert.equal(contentOf(ownerView), contentOf(declared.map((object) => ({ object }))), "the owner holds all");
  for (const grantee of grantees) {
    const expected = declared.filter((object) => grantsOf(object).includes(grantee.uri)).map((object) => ({ object }));
    const held = await grantee.rest.list("/projects?include=object");
    assert.equal(contentOf(held), contentOf(expected), `${grantee.handle} holds what was shared with it`);
    const last = String(declared.at(-1)?.id);
    if (grantsOf(declared.at(-1) ?? {}).includes(grantee.uri)) assert.ok(await readProject(grantee, last));
  }

  for (const node of [sender, receiver]) {
    assert.is((await node.admin.ok("GET", "/audit/verification")).verified, true);
    for (const { type, state, receipt } of await node.admin.list("/deliveries")) {
      assert.is(state, "delivered", `${String(type)} is delivered`);
      if (type !== "Follow") assert.is(receipt, true, `${String(type)} has a receipt`);
    }
  }
  const given = await receiver.admin.list("/receipts?direction=out");
  assert.is(new Set(given.map(({ activity }) => activity)).size, given.length);
  const held = new Map((await sender.admin.list("/receipts?direction=in")).map(({ activity, jws }) => [activity, jws]));
  for (const { activity, jws, peer } of given) {
    if (peer === sender.origin && held.has(activity)) assert.is(jws, held.get(activity), "both hold the same receipt");
  }

  await receiver.stop();
  const entries = await receiver.query("select object, audience from journal where action = 'project.shared'");
  const events = entries.flatMap(({ object, audience }) =>
    (audience as string[]).map((to) => `${String(object)} ${to}`),
  );
  const expected = declared.flatMap((object) => grantsOf(object).map((to) => `${String(object.id)} ${to}`));
  assert.equal(events.sort(), expected.sort(), "one project.shared for each object and grantee");
  await receiver.start();
}

const grantsOf = (object: Json): readonly string[] =>
  ((object["hf:grants"] ?? []) as Json[]).map(({ platform }) => String(platform));

/** Objects in a form in which two sets compare, whatever their order. */
const contentOf = (projects: readonly Json[]): readonly string[] =>
  projects.map(({ object }) => canonicalJson(object)).sort();
