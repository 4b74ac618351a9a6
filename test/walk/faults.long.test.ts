// time limit: 3600 s
import * as assert from "uvu/assert";
import { type Patch, patchProgram } from "../harness/patched-program.ts";
import { suite } from "../harness/suite.ts";
import { runWalk } from "./walk.ts";

/** Faults of one line, put into the program, which a walk must find. */
const test = suite("faults that a walk finds");

const faults: readonly (readonly [string, Patch])[] = [
  [
    "who is withdrawn goes on reading",
    {
      file: "registry/access.js",
      from: ".set({ endedRevision: revision })",
      to: ".set({ endedRevision: null })",
    },
  ],
  [
    "of two edits of one revision both are applied",
    {
      file: "registry/project-edits.js",
      from: "if (revision !== row.revision + 1)\n        throw staleAgainst(row);\n    const before",
      to: "const before",
    },
  ],
  [
    "a withdrawal cancels what waits for others",
    {
      file: "outbox/append.js",
      from: "<@ array[${sql.join(",
      to: "is not null or '{}' <@ array[${sql.join(",
    },
  ],
];

for (const [name, patch] of faults) {
  test(name, async () => {
    await using patched = await patchProgram(patch);
    for (let seed = 1; seed <= 5; seed += 1) {
      try {
        await runWalk({ steps: 150, seed, program: patched.program, patience: 40_000, lookEvery: 50 });
      } catch (error) {
        assert.match(String(error), "CONCORDAT_WALK_SEED");
        return;
      }
    }
    assert.unreachable("five walks of 150 steps did not find it");
  });
}

test.run();
