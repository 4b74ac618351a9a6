import * as assert from "uvu/assert";
import { heldOctets } from "../../src/http/body.ts";
import { splitBatch } from "../../src/protocol/batches.ts";
import { digestJson } from "../../src/protocol/canonical-json.ts";
import { parseStrictJsonText } from "../../src/protocol/strict-json.ts";
import { startNode, type TestNode } from "../harness/node.ts";
import { approveScripted, type ScriptedPeer, startPeer } from "../harness/peer.ts";
import type { Json } from "../harness/rest.ts";
import { freshDatabaseUrl, noPostgres } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";
import type { Answer } from "../harness/wire.ts";

const hasPostgres = (await freshDatabaseUrl()) !== undefined;
const test = hasPostgres ? suite("flood") : skipSuite("flood", noPostgres);

const activities = 100;
/** Small members cost a node the most. */
const content = Array.from({ length: 1_000 }, (_, n) => ({ [`member-${n}`]: n, more: "text" }));

/** The longest time, milliseconds, for which nothing else was heard while `run` was under way. */
async function longestHold(run: () => Promise<unknown>): Promise<number> {
  let longest = 0;
  let last = performance.now();
  const look = () => {
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
  };
  const timer = setInterval(look, 1);
  await run();
  look();
  clearInterval(timer);
  return longest;
}

/** Reads them: the least that they cost on this machine, now. */
function readAll(texts: readonly string[]): void {
  for (const text of texts) digestJson(parseStrictJsonText(text));
}

/** Posts these bodies at one moment; the longest that the node was held by them, and the answers. */
async function flood(node: TestNode, peer: ScriptedPeer, bodies: readonly string[], path: string) {
  let end: () => void = () => {};
  const lastOctet = new Promise<void>((resolve) => {
    end = resolve;
  });
  const posting = bodies.map((body) => peer.post(node.origin, null, { path, body, lastOctet }));
  const octets = bodies.reduce((sum, body) => sum + body.length - 1, 0);
  await until("all but the last octets have come", () => heldOctets() === octets);
  let answers: readonly Answer[] = [];
  const held = await longestHold(async () => {
    end();
    answers = await Promise.all(posting);
  });
  return { held, answers };
}

const texts = (peer: ScriptedPeer, count: number) =>
  Array.from({ length: count }, () =>
    JSON.stringify(peer.activity({ type: "Like", object: `${peer.origin}/notes/1`, content })),
  );
const inBatch = (items: readonly string[]) => `[${items.join()}]`;

let node: TestNode;
let peer: ScriptedPeer;
test.before(async () => {
  [node, peer] = await Promise.all([startNode({ store: "postgres" }), startPeer()]);
  await approveScripted(node, peer);
});
test.after(async () => {
  await Promise.all([node, peer].map((part) => part[Symbol.asyncDispose]()));
});

test("activities that come whole at one moment keep nothing else waiting", async () => {
  const bodies = texts(peer, activities);
  const cost = await longestHold(async () => readAll(bodies));
  const { held, answers } = await flood(node, peer, bodies, "/inbox");
  assert.equal(
    answers.map(({ status }) => status),
    bodies.map(() => 202),
  );
  assert.ok(held < cost / 2, `the node was held for ${held} ms by what costs ${cost} ms`);
});

test("the activities of a batch keep nothing else waiting", async () => {
  const items = texts(peer, activities);
  const cost = await longestHold(async () => readAll(items));
  const { held, answers } = await flood(node, peer, [inBatch(items)], "/batch-inbox");
  const results = answers[0]?.body.results as readonly Json[];
  assert.equal(
    results.map(({ status }) => status),
    items.map(() => 202),
  );
  assert.ok(held < cost / 2, `the node was held for ${held} ms by what costs ${cost} ms`);
});

test("batches that come whole at one moment keep nothing else waiting", async () => {
  // Refused for its size as soon as it is told from the others, so that these cost no more than that.
  const [large = ""] = texts(peer, 1).map((text) => inBatch(Array(40).fill(text)));
  const bodies = Array.from({ length: 12 }, () => inBatch([large, large, large]));
  const cost = await longestHold(async () => {
    for (const body of bodies) splitBatch(Buffer.from(body));
  });
  const { held, answers } = await flood(node, peer, bodies, "/batch-inbox");
  const results = answers.flatMap(({ body }) => body.results as readonly Json[]);
  assert.equal(
    results.map(({ status }) => status),
    bodies.flatMap(() => [413, 413, 413]),
  );
  assert.ok(held < cost / 2, `the node was held for ${held} ms by what costs ${cost} ms`);
});

test.run();
