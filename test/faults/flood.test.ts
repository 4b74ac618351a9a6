import * as assert from "uvu/assert";
import { heldOctets } from "../../src/http/body.ts";
import { digestJson } from "../../src/protocol/canonical-json.ts";
import { parseStrictJsonText } from "../../src/protocol/strict-json.ts";
import { startNode } from "../harness/node.ts";
import { approveScripted, startPeer } from "../harness/peer.ts";
import { freshDatabaseUrl, noPostgres } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

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

test("activities that come whole at one moment keep nothing else waiting", async () => {
  await using node = await startNode({ store: "postgres" });
  await using peer = await startPeer();
  await approveScripted(node, peer);
  const texts = Array.from({ length: activities }, () =>
    JSON.stringify(peer.activity({ type: "Like", object: `${peer.origin}/notes/1`, content })),
  );

  let end: () => void = () => {};
  const lastOctet = new Promise<void>((resolve) => {
    end = resolve;
  });
  const posting = texts.map((body) => peer.post(node.origin, null, { body, lastOctet }));
  const octets = texts.reduce((sum, text) => sum + text.length - 1, 0);
  await until("all but the last octets have come", () => heldOctets() === octets);
  // The least that all of them cost on this machine, now.
  const cost = await longestHold(async () => {
    for (const text of texts) digestJson(parseStrictJsonText(text));
  });
  let statuses: readonly number[] = [];
  const held = await longestHold(async () => {
    end();
    statuses = (await Promise.all(posting)).map(({ status }) => status);
  });
  assert.equal(
    statuses,
    texts.map(() => 202),
  );
  assert.ok(held < cost / 2, `the node was held for ${held} ms by what costs ${cost} ms`);
});

test.run();
