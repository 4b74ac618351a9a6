import * as assert from "uvu/assert";
import { canonicalJson, clearDigest, digestJson, objectDigest } from "../../src/protocol/canonical-json.ts";
import { parseStrictJson } from "../../src/protocol/strict-json.ts";
import { suite } from "../harness/suite.ts";
import { type Json, loadVectors } from "../vectors/load.ts";

const test = suite("canonical JSON");

for (const item of loadVectors("digests").cases.filter(({ expect }) => expect === "accept")) {
  test(item.name, () => {
    const value = parseStrictJson(new TextEncoder().encode(item.json as string));
    const without = (item.without ?? []) as string[];
    const reduced =
      without.length === 0
        ? value
        : Object.fromEntries(Object.entries(value as Json).filter(([name]) => !without.includes(name)));
    assert.is(canonicalJson(reduced), item.jcs);
    assert.is(digestJson(reduced), item.digest);
    if (without.includes("hf:sealed")) assert.is(clearDigest(value as Json), item.digest);
    else if (without.includes("@context")) assert.is(objectDigest(value as Json), item.digest);
  });
}

test("what is no JSON has no canonical form", () => {
  assert.throws(() => canonicalJson(undefined), TypeError);
});

test.run();
