import * as assert from "uvu/assert";
import { judgeBundleItem } from "../../src/crypto/bundle-items.ts";
import { suite } from "../harness/suite.ts";
import { type Json, loadVectors } from "../vectors/load.ts";
import { assertVerdict } from "./verdict.ts";

const test = suite("items of hf:bundles");
const { file, cases } = loadVectors("hf-bundles");
const bundles = file.bundles as Json;

for (const vector of cases) {
  test(vector.name, async () => {
    const actor = vector.actor as string;
    const item = {
      actor,
      membership: (file.memberships as Json)[vector.membership as string],
      bundles: (vector.bundles as string[]).map((name) => bundles[name]),
    };
    const known = (vector.known as string[]).map((name) => bundles[name]);
    assertVerdict(await judgeBundleItem({ known, item, actor, now: vector.now as number }), vector);
  });
}

test("history below a first contact in mid-chain is passed over", async () => {
  const actor = "https://ouest.example/platforms/chu-rennes";
  const item = {
    actor,
    membership: (file.memberships as Json)["2"],
    bundles: [bundles.two, bundles.three, bundles.five],
  };
  const verdict = await judgeBundleItem({ known: [bundles.five], item, actor, now: 1_795_428_000 });
  assert.ok(verdict.accepted);
  assert.equal(
    verdict.bundles.map(({ accepted }) => [accepted.seq, accepted.known]),
    [[5, true]],
  );
});

test.run();
