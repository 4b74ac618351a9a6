import * as assert from "uvu/assert";
import { givenNameSchema, isBlank, nameSchema } from "../../src/protocol/values.ts";
import { suite } from "../harness/suite.ts";

const test = suite("names");

const blank = {
  spaces: "  ",
  "a no-break space": "\u00a0",
  "an ideographic space": "\u3000",
  "zero-width spaces": "\u200b\u200d\ufeff",
  "a soft hyphen": "\u00ad",
  "a Hangul filler, which is a letter": "\u3164",
  "the blank of Braille": "\u2800",
  "a variation selector": "\ufe0f",
  "a mark without a letter": " \u0301",
};

for (const [what, text] of Object.entries(blank)) {
  test(`of ${what} alone are refused where they are given, and taken from peers`, () => {
    assert.ok(isBlank(text));
    assert.is(givenNameSchema().safeParse(text).success, false);
    assert.is(nameSchema().safeParse(text).success, true);
  });
}

test("that show something are kept as they are", () => {
  for (const text of ["É", "E\u0301tude", " CHU ", "0", "–", "🧬", "病院", "م\u200cن", "\ue000"]) {
    assert.is(givenNameSchema().parse(text), text);
  }
});

test("that are empty or hold controls have one fault each", () => {
  for (const text of ["", "a\tb"]) assert.is(givenNameSchema().safeParse(text).error?.issues.length, 1);
});

test.run();
