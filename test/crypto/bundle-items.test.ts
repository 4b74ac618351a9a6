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

test.run();
