import * as assert from "uvu/assert";
import { settle, startNode, type TestNode } from "../harness/node.ts";
import { approveScripted, type ScriptedPeer, startPeer } from "../harness/peer.ts";
import { joinPlatform } from "../harness/platform.ts";
import { suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

/** A clock that was ahead and is set right: what was to be tried again then is tried again now. */
const test = suite("a clock that jumps back");

/** Less than a token is good for, and far more than any back-off of a test's node. */
const jump = 10 * 60_000;

let ahead = 0;
let node: TestNode;
let peer: ScriptedPeer;
test.before(async () => {
  const clock = () => new Date(Date.now() + ahead);
  [node, peer] = await Promise.all([startNode({ clock }), startPeer()]);
  await approveScripted(node, peer);
  await settle(node);
});
test.after(async () => void (await Promise.all([node[Symbol.asyncDispose](), peer[Symbol.asyncDispose]()])));
test.before.each(() => {
  ahead = 0;
  peer.answerWith(undefined);
});

for (const [what, status] of [
  ["a lane that backs off", 503],
  ["a delivery that waits alone", 500],
] as const) {
  test(`${what} is tried again, though its time is far ahead`, async () => {
    peer.answerWith(() => ({ status }));
    ahead = jump;
    await joinPlatform(node, `p${status}`);
    await until("the next attempt lies ahead", async () => {
      const [waiting] = await node.admin.list("/deliveries?state=queued");
      return Date.parse(String(waiting?.next_attempt_at)) > Date.now() + jump / 2 && Number(waiting?.attempts) > 0;
    });
    ahead = 0;
    peer.answerWith(undefined);
    await settle(node);
    assert.equal(await node.admin.list("/deliveries?state=dead"), []);
  });
}

test.run();
