import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import * as assert from "uvu/assert";
import { benchmarks } from "../bench/benchmarks.ts";
import { suite } from "./harness/suite.ts";

/** Names of figures and the form of `--json`: whoever compares runs reads them. */
const test = suite("benchmarks");

const program = join(import.meta.dirname, "..", "bench", "run.js");
const run = (...argv: readonly string[]) => promisify(execFile)(process.execPath, [program, ...argv]);

const promised: readonly string[] = [
  "inbox.single.rsa",
  "inbox.single.ed25519",
  "inbox.single.rsa.processes2",
  "inbox.single.ed25519.processes2",
  "inbox.batch",
  "database.commits",
  "outbox.single",
  "outbox.fanout100",
  "share.opened.p50",
  "share.opened.p99",
  "projects.get",
  "projects.list",
  "seal",
  "open",
  "start.first",
  "start.again",
  "memory.embedded",
  "memory.server",
];

test("every figure that is promised is there, and none twice", () => {
  const names = benchmarks.flatMap((benchmark) => benchmark.names);
  assert.equal(
    promised.filter((name) => !names.includes(name)),
    [],
  );
  assert.is(new Set(names).size, names.length);
});

test("--json gives one object a line, each figure beside what it is compared with", async () => {
  const { stdout } = await run("seal", "--json");
  const figures = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  assert.equal(
    figures.map(({ name, profile, unit }) => [name, profile, unit]),
    [
      ["seal", "embedded", "/s"],
      ["open", "embedded", "/s"],
    ],
  );
  for (const figure of figures) {
    assert.equal(Object.keys(figure), ["name", "profile", "value", "unit", "beside", "ratio", "n"]);
    assert.equal(Object.keys(figure.beside), ["what", "value"]);
    for (const value of [figure.value, figure.beside.value, figure.ratio, figure.n])
      assert.ok(value > 0, String(value));
  }
});

test("a name that no figure has is refused with those that there are", async () => {
  const refused = await run("nothing").catch((error) => error);
  assert.is(refused.code, 2);
  assert.match(refused.stderr, /inbox\.batch, .*seal, open/);
});

test.run();
