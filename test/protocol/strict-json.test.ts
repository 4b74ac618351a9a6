import fc from "fast-check";
import * as assert from "uvu/assert";
import { Problem } from "../../src/errors.ts";
import { hasForbiddenNameCharacters, parseStrictJson } from "../../src/protocol/strict-json.ts";
import { suite } from "../harness/suite.ts";
import { loadVectors } from "../vectors/load.ts";

const test = suite("strict JSON");
const parse = (text: string) => parseStrictJson(new TextEncoder().encode(text));
const isMalformed = (error: unknown) => error instanceof Problem && error.code === "malformed_json";

for (const item of loadVectors("digests").cases.filter(({ expect }) => expect === "refuse")) {
  test(item.name, () => assert.throws(() => parse(item.json as string), isMalformed));
}

for (const text of [
  "",
  " ",
  "[1",
  '{"a"',
  '"a',
  "[1,]",
  "tru",
  "-",
  "1.",
  ".5",
  "1e",
  '"\\x"',
  '"\\ud83e\\u0041"',
  "[\u00a01]",
]) {
  test(`refuses ${JSON.stringify(text)}`, () => assert.throws(() => parse(text), isMalformed));
}

test("refuses what is not UTF-8", () => {
  assert.throws(() => parseStrictJson(Uint8Array.of(0x22, 0xc0, 0xaf, 0x22)), isMalformed);
  assert.throws(() => parseStrictJson(Uint8Array.of(0x22, 0xed, 0xa0, 0x80, 0x22)), isMalformed);
});

test("a name may not hold control or direction characters", () => {
  for (const text of ["a\u0000", "\n", "\u0085", "\u061c", "\u200e", "\u202e", "\u2069"]) {
    assert.ok(hasForbiddenNameCharacters(text), JSON.stringify(text));
  }
  assert.not(hasForbiddenNameCharacters("Étude – 🧬 é"));
});

const names = fc
  .string({ unit: "grapheme" })
  .filter((name) => !["__proto__", "constructor", "name"].includes(name) && !name.includes("\u0000"));
const json = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 5 },
    fc.constantFrom(null, true, false),
    fc.maxSafeInteger(),
    fc.double({ min: -1e9, max: 1e9, noNaN: true }),
    fc.string({ unit: "grapheme" }).filter((text) => !text.includes("\u0000")),
    fc.array(tie("value"), { maxLength: 4 }),
    fc.dictionary(names, tie("value"), { maxKeys: 4, noNullPrototype: true }),
  ),
})).value;

test("agrees with JSON.parse on what it accepts, however it is spaced", () => {
  fc.assert(
    fc.property(json, fc.constantFrom(0, 2, "\t"), (value, space) => {
      const text = JSON.stringify(value, null, space);
      assert.equal(parse(text), JSON.parse(text));
    }),
  );
});

test("accepts nothing that JSON.parse refuses", () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...'{}[]",:\\u0019eE+-. \ntrufalsn') }), (text) => {
      let accepted: unknown;
      try {
        accepted = parse(text);
      } catch (error) {
        assert.ok(isMalformed(error));
        return;
      }
      assert.equal(accepted, JSON.parse(text));
    }),
    { numRuns: 2000 },
  );
});

test.run();
