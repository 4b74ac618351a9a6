// time limit: 3600 s
import * as assert from "uvu/assert";
import { type Patch, patchProgram } from "../harness/patched-program.ts";
import { suite } from "../harness/suite.ts";
import { runWalk } from "./walk.ts";

/** Faults of one line, put into the program, which a walk must find. */
const test = suite("faults that a walk finds");

const walked = { steps: 150, patience: 90_000, lookEvery: 50 };

/** What is wrong, where it is put in, and what the walk says of it: what it says of a slow machine does not count. */
const faults: readonly (readonly [string, Patch, RegExp])[] = [
  [
    "who is withdrawn goes on reading",
    {
      file: "registry/access.js",
      from: ".set({ endedRevision: revision })",
      to: ".set({ endedRevision: null })",
    },
    /without a grant|its access rows|sees P\d+/,
  ],
  [
    "of two edits of one revision both are applied",
    {
      file: "registry/project-edits.js",
      from: "if (revision !== row.revision + 1)\n        throw staleAgainst(row);\n    const before",
      to: "const before",
    },
    /content_conflict|nobody has sealed|came too late|: revision|: the object/,
  ],
  [
    "a withdrawal cancels what waits for others",
    {
      file: "outbox/append.js",
      from: "<@ array[${sql.join(",
      to: "is distinct from array[${sql.join(",
    },
    /: revision|does not see P\d+|: the owner's word|: its access rows/,
  ],
];

test("without a fault, the first of these walks finds nothing", () => runWalk({ ...walked, seed: 1 }));

for (const [name, patch, finding] of faults) {
  test(name, async () => {
    await using patched = await patchProgram(patch);
    for (let seed = 1; seed <= 5; seed += 1) {
      try {
        await runWalk({ ...walked, seed, program: patched.program });
      } catch (error) {
        assert.match(String(error).split(", after\n", 1)[0] ?? "", finding);
        return;
      }
    }
    assert.unreachable("five walks of 150 steps did not find it");
  });
}

test.run();
