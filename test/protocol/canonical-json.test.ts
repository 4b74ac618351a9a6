import * as assert from "uvu/assert";
import { canonicalJson, clearDigest, digestJson, objectDigest } from "../../src/protocol/canonical-json.ts";
import { parseStrictJson } from "../../src/protocol/strict-json.ts";
import { suite } from "../harness/suite.ts";
import { type Json, loadVectors, readVectorFile } from "../vectors/load.ts";

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

for (const item of readVectorFile("rfc8785-jcs.json").cases as {
  name: string;
  inputUtf8: string;
  expectedHex: string;
}[]) {
  test(`RFC 8785: ${item.name}`, () => {
    const octets = new TextEncoder().encode(canonicalJson(JSON.parse(item.inputUtf8)));
    assert.is(Buffer.from(octets).toString("hex"), item.expectedHex);
  });
}

test("what is no JSON has no canonical form", () => {
  assert.throws(() => canonicalJson(undefined), TypeError);
});

test.run();
