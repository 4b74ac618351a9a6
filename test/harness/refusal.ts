import * as assert from "uvu/assert";
import { settle, startNode, type TestNode } from "./node.ts";
import { approveScripted, type ScriptedPeer, startPeer } from "./peer.ts";
import type { Json } from "./rest.ts";
import { freshDatabaseUrl } from "./servers.ts";
import { until } from "./until.ts";
import type { Answer } from "./wire.ts";

/** What a refusal must leave behind: one entry of its own for a peer, a count for a stranger, nothing before the signature. */
export type Trace = "entry" | "count" | "none";

/** Tables that a refusal of a federated request may touch. */
const unjudged = ["journal", "sessions", "login_failures"];

/**
 * Sends what is to be refused and asserts all that docs/protocol.md, "Answers", says of a refusal: its status, its
 * problem document, nothing changed in the database, its trace in the audit, and no request to whoever sent it.
 */
export async function assertRefused(
  node: TestNode,
  peer: ScriptedPeer,
  expected: { readonly status: number; readonly code: string; readonly trace: Trace },
  send: () => Promise<Answer>,
): Promise<Answer> {
  const state = await readState(node);
  const traces = await readTraces(node);
  const { requests } = peer;
  const asked = requests.length;
  const answer = await send();
  const { status, code, trace } = expected;
  assert.is(answer.body.code, code, `${String(answer.status)} ${JSON.stringify(answer.body)}`);
  assert.is(answer.status, status);
  assert.match(String(answer.headers["content-type"]), /^application\/problem\+json/);
  assert.is(answer.body.status, status);
  assert.is(requests.length, asked, "nothing was asked of the sender");
  assert.equal(await readState(node), state, "nothing changed");
  const added = (await readTraces(node)).filter((entry) => !traces.some((before) => isSame(before, entry)));
  if (trace === "none") {
    assert.equal(added, []);
    return answer;
  }
  assert.is(added.length, 1, `one entry: ${JSON.stringify(added)}`);
  assert.is(added[0]?.code, code);
  assert.is(added[0]?.outcome, "refused");
  if (trace === "count") assert.ok(added[0]?.address, "a stranger's refusal is counted by address");
  return answer;
}

export interface Judging extends AsyncDisposable {
  readonly node: TestNode;
  /** An approved peer of it. */
  readonly peer: ScriptedPeer;
}

/**
 * A node and a peer whose requests it judges; `prepare` makes what the accepted ones need. On PostgreSQL every refusal
 * compares all tables; on PGlite the whole suite does, once, when this is disposed.
 */
export async function startJudging(prepare: (node: TestNode) => Promise<unknown> = async () => {}): Promise<Judging> {
  const store = (await freshDatabaseUrl()) === undefined ? "pglite" : "postgres";
  const [node, peer] = await Promise.all([startNode({ store }), startPeer()]);
  await approveScripted(node, peer);
  await prepare(node);
  await untilQuiet(node);
  const dump = async (): Promise<Record<string, string[]>> => {
    if (store === "postgres") return {};
    await node.stop();
    // Accepted activities and logins leave rows.
    return await node.dump(["journal", "sessions", "received_activities", "administrators"]);
  };
  const before = await dump();
  if (store === "pglite") await node.start();
  return {
    node,
    peer,
    async [Symbol.asyncDispose]() {
      try {
        assert.equal(await dump(), before);
      } finally {
        await Promise.all([node[Symbol.asyncDispose](), peer[Symbol.asyncDispose]()]);
      }
    },
  };
}

/** Waits until nothing of the node's own doing changes its tables any more. */
export async function untilQuiet(node: TestNode): Promise<void> {
  await settle(node);
  if (node.store !== "postgres") return;
  const held = "select peer_id from lanes where locked_by is not null";
  await until("no lane is held", async () => (await node.query(held)).length === 0);
}

/** Every table where a running node's can be read, else the receipts for what was stored. */
const readState = (node: TestNode): Promise<unknown> =>
  node.store === "postgres" ? node.dump(unjudged) : node.admin.list("/receipts?direction=out");
const readTraces = (node: TestNode) => node.admin.list("/audit");
const isSame = (one: Json, other: Json) => one.seq === other.seq && one.count === other.count;
