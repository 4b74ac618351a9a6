// time limit: 240 s
import { execFile } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { suite } from "../harness/suite.ts";

const test = suite("the demo");

const main = join(import.meta.dirname, "..", "..", "src", "main.js");

interface Step {
  readonly step: string;
  readonly ok: boolean;
  readonly ms: number;
  readonly [member: string]: unknown;
}

let directory: string;
let ended: { code: number; out: string; err: string };
let steps: Step[];

/** The demo in a process of its own, with nothing of these surroundings but a place for its files. */
test.before(async () => {
  directory = await mkdtemp(join(tmpdir(), "concordat-demo-test-"));
  ended = await new Promise((resolve) => {
    const options = { env: { TMPDIR: directory }, cwd: directory, maxBuffer: 2 ** 24 };
    execFile(process.execPath, [main, "demo", "--once", "--json"], options, (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code), out, err });
    });
  });
  steps = ended.out
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
});
test.after(() => rm(directory, { recursive: true, force: true }));

const stepOf = (name: string): Step => {
  const found = steps.find(({ step }) => step === name);
  if (found === undefined) throw new Error(`the demo has no step ${name}: ${ended.out}${ended.err}`);
  return found;
};

test("every step is told in order, in its form, and is ok", () => {
  assert.equal(
    steps.map(({ step, ok, code, error }) => ({ step, ok, ...(ok ? {} : { code, error }) })),
    [
      "start-nodes",
      "register-references",
      "approve-peers",
      "join-platforms",
      "compare-fingerprints",
      "declare-project",
      "stop-receiver",
      "share-project",
      "kill-sender",
      "start-receiver",
      "restart-sender",
      "open-project",
      "share-from-two-nodes",
      "list-merged",
      "verify-receipts",
      "verify-journals",
      "search-sealed-text",
    ].map((step) => ({ step, ok: true })),
  );
  for (const { step, ms } of steps) assert.ok(Number.isInteger(ms) && ms >= 0, step);
  assert.is(ended.err, "");
  assert.is(ended.code, 0);
});

test("what was queued when the sender was killed is opened at the receiver, equal to what was sealed", () => {
  const { ouest, lyon } = stepOf("start-nodes").origins as Record<string, string>;
  assert.ok(Number(stepOf("share-project").queued) > 0);
  assert.is(stepOf("kill-sender").signal, "SIGKILL");
  assert.is(stepOf("start-receiver").projects, 0);
  const opened = stepOf("open-project");
  assert.is(opened.code, "NCT02990195");
  assert.is(opened.instance, lyon);
  assert.is(opened.equal, true);
  assert.is(opened.access, "readonly");
  assert.is(opened.sealed_by, `${ouest}/platforms/chu-rennes`);
});

test("one vault lists the projects of two instances, each row with its instance", () => {
  const { ouest, paris } = stepOf("start-nodes").origins as Record<string, string>;
  const rows = stepOf("list-merged").rows as { instance: string; code: string }[];
  assert.equal(
    rows.map(({ instance }) => instance),
    [ouest, paris],
  );
});

test("receipts and journals verify, and sealed text is in no file of a node", () => {
  assert.ok(Number(stepOf("verify-receipts").receipts) >= 2);
  const entries = stepOf("verify-journals").entries as Record<string, number>;
  assert.equal(Object.keys(entries), ["ouest", "lyon", "paris"]);
  for (const count of Object.values(entries)) assert.ok(count > 0);
  const search = stepOf("search-sealed-text");
  assert.is(search.found, 0);
  assert.ok(Number(search.control_found) > 0);
});

test("nothing is left of it", async () => {
  assert.equal(await readdir(directory), []);
});

test.run();
