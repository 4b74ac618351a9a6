import * as assert from "uvu/assert";
import { formatStep } from "../../src/cli/demo/progress.ts";
import { createOutput, printable, reportError, type Terminal } from "../../src/cli/output.ts";
import { Problem } from "../../src/errors.ts";
import { suite } from "../harness/suite.ts";

const test = suite("what the commands print");

function terminal(columns: number | undefined, colours = false) {
  const written = { out: "", err: "" };
  const kept: Terminal = {
    columns,
    colours,
    out: (text) => {
      written.out += text;
    },
    err: (text) => {
      written.err += text;
    },
  };
  return { written, kept };
}

const rows = [
  {
    id: "0190a0a0-0000-7000-8000-000000000001",
    name: "Restoring the Beneficial Effects of Bile Salt Signalling",
    at: "here",
  },
  { id: "0190a0a0-0000-7000-8000-000000000002", name: "Short", at: "a place with a name that is long" },
];
const columns = [
  { title: "id", value: (row: (typeof rows)[number]) => row.id, whole: true as const },
  { title: "name", value: (row: (typeof rows)[number]) => row.name },
  { title: "at", value: (row: (typeof rows)[number]) => row.at },
];

test("fits a table into the terminal and never cuts an id", () => {
  const { written, kept } = terminal(80);
  createOutput(kept, false).table(rows, columns, "none");
  const lines = written.out.trimEnd().split("\n");
  assert.is(lines.length, 3);
  for (const line of lines) assert.ok(line.length <= 80, `${line.length} characters: ${line}`);
  for (const { id } of rows) assert.match(written.out, id);
  assert.match(written.out, "…");
});

test("is plain where it is piped: tabs, nothing cut", () => {
  const { written, kept } = terminal(undefined);
  createOutput(kept, false).table(rows, columns, "none");
  assert.is(written.out.split("\n")[1], Object.values(rows[0] ?? {}).join("\t"));
});

test("says on stderr that a list is empty", () => {
  const { written, kept } = terminal(undefined);
  createOutput(kept, false).table([], columns, "There are none.");
  assert.equal(written, { out: "", err: "There are none.\n" });
});

test("prints exactly one JSON document with --json, and no notes", () => {
  const { written, kept } = terminal(80, true);
  const output = createOutput(kept, true);
  output.note("for people");
  output.table(rows, columns, "none");
  assert.equal(JSON.parse(written.out), rows);
  assert.is(written.err, "");
});

test("lets no text steer the terminal", () => {
  assert.is(printable("a\u001b[2Jb\u202ec\rd"), "a\ufffd[2Jb\ufffdc\ufffdd");
});

test("uses colours only where the terminal has them", () => {
  for (const colours of [true, false]) {
    const { written, kept } = terminal(80, colours);
    createOutput(kept, false).table(rows, columns, "none");
    assert.is(written.out.includes("\u001b["), colours);
  }
});

test("reports the code and the members of a refusal", () => {
  const error = new Problem("invalid", "Not so.", {
    errors: [{ path: "name", code: "too_small", message: "is empty" }],
  });
  const people = terminal(80);
  assert.is(reportError(people.kept, false, error), 1);
  assert.is(people.written.err, "error invalid: Not so.\n  name: is empty\n");
  const scripts = terminal(80);
  reportError(scripts.kept, true, error);
  const report = JSON.parse(scripts.written.err);
  assert.is(report.code, "invalid");
  assert.is(report.status, 400);
  assert.is(report.errors[0].path, "name");
});

test("shows where a defect is, not as if it were a refusal", () => {
  const { written, kept } = terminal(80);
  assert.is(reportError(kept, false, new TypeError("x is not a function")), 1);
  assert.match(written.err, "error internal: TypeError: x is not a function");
  assert.match(written.err, "output.test");
});

test("shows a step of the demo within the terminal's width, with nothing cut", () => {
  const said = "chu-rennes compared hcl's: 0207 5fe3 e4f3 0a54 3395 8db3 at 127.0.0.1:40921, 127.0.0.1:44711";
  const terminal = { columns: 80, colours: false, out: () => undefined, err: () => undefined };
  const shown = formatStep("✓", "share-from-two-nodes", 12_345, said, terminal);
  const lines = shown.split("\n");
  assert.ok(lines.length > 1);
  for (const line of lines) assert.ok(line.length <= 80, line);
  assert.match(shown.replace(/\n +/g, " "), said);
  assert.is(formatStep("✓", "a", 1, said, { ...terminal, columns: undefined }).split("\n").length, 1);
});

test("leaves out on a narrow terminal what it has no room for, and nothing in a pipe", () => {
  const columns = [
    { title: "peer", value: () => "lyon.example:8443", whole: true as const },
    { title: "activity", value: () => `https://ouest.example/activities/${"0".repeat(36)}`, spare: true as const },
  ];
  const print = (width: number | undefined) => {
    const kept = terminal(width);
    createOutput(kept.kept, false).table([{}], columns, "");
    return kept.written.out;
  };
  assert.is(print(60), "peer\nlyon.example:8443\n");
  assert.match(print(100), "activities/0000");
  assert.match(print(undefined), "activities/0000");
});

test.run();
