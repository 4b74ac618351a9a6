import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { join } from "node:path";
import { equal, is, match } from "uvu/assert";
import { suite } from "./suite.ts";

const test = suite("the test runner");
const buildRoot = join(import.meta.dirname, "..");

interface Result {
  readonly code: number | null;
  readonly output: string;
  readonly lastLine: string;
}

async function runNode(parameters: readonly string[]): Promise<Result> {
  const env = { ...process.env, CONCORDAT_TEST_SERVERS: "none" };
  const child = spawn(process.execPath, parameters, { env, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (chunk: string) => {
      output += chunk;
    });
  }
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return { code, output, lastLine: output.trimEnd().split("\n").at(-1) ?? "" };
}

const runFixture = (name: string) =>
  runNode([join(buildRoot, "run.js"), "--file", `harness/fixtures/${name}.fixture.ts`]);
const runByHand = (name: string) => runNode([join(buildRoot, "harness", "fixtures", `${name}.fixture.js`)]);

const failures: readonly { fixture: string; behaviour: string; last: string; reason: RegExp; byHand?: false }[] = [
  { fixture: "fails", behaviour: "a failing test", last: "1 passed, 1 failed, 0 skipped", reason: /does not hold/ },
  { fixture: "exit-code", behaviour: "a non-zero exit", last: "1 passed, 1 failed, 0 skipped", reason: /exit code 7/ },
  {
    fixture: "exit-early",
    behaviour: "an exit with 0 before the last test",
    last: "1 passed, 1 failed, 0 skipped",
    reason: /1 outcomes for 3 tests, none for "ends the process, well", "is never reached"/,
  },
  {
    fixture: "time-out",
    behaviour: "a time-out",
    last: "0 passed, 1 failed, 0 skipped",
    reason: /time-out: did not end within 1 s/,
    byHand: false,
  },
  {
    fixture: "no-suite",
    behaviour: "a file without a suite",
    last: "0 passed, 1 failed, 0 skipped",
    reason: /no test: the file declares no suite/,
    byHand: false,
  },
  {
    fixture: "no-test",
    behaviour: "a suite without a test",
    last: "0 passed, 1 failed, 0 skipped",
    reason: /no test in suite "no test"/,
  },
  {
    fixture: "never-settles",
    behaviour: "fewer outcomes than tests",
    last: "1 passed, 1 failed, 0 skipped",
    reason: /1 outcomes for 2 tests, none for "waits for nothing"/,
  },
  {
    fixture: "forgotten-run",
    behaviour: "a forgotten run()",
    last: "0 passed, 1 failed, 0 skipped",
    reason: /suite "forgotten run" was never run/,
  },
  {
    fixture: "before-throws",
    behaviour: "a throw in before",
    last: "0 passed, 1 failed, 0 skipped",
    reason: /before threw[\s\S]*no water in the pool/,
  },
  {
    fixture: "after-throws",
    behaviour: "a throw in after",
    last: "1 passed, 1 failed, 0 skipped",
    reason: /after threw[\s\S]*the pool does not empty/,
  },
  {
    fixture: "before-each-throws",
    behaviour: "a throw in before.each",
    last: "0 passed, 1 failed, 0 skipped",
    reason: /no towel/,
  },
  {
    fixture: "bare-rejection",
    behaviour: "a rejection without an error",
    last: "1 passed, 1 failed, 0 skipped",
    reason: /rejected with undefined, which is not an Error/,
  },
  {
    fixture: "unhandled-rejection",
    behaviour: "a rejection that nobody handles",
    last: "0 passed, 1 failed, 0 skipped",
    reason: /exit code 1[\s\S]*nobody listens/,
  },
  {
    fixture: "open-handle",
    behaviour: "a handle that stays open",
    last: "1 passed, 1 failed, 0 skipped",
    reason: /an open handle kept the process alive/,
    byHand: false,
  },
  {
    fixture: "killed",
    behaviour: "an end by a signal",
    last: "0 passed, 1 failed, 0 skipped",
    reason: /ended by SIGKILL/,
    byHand: false,
  },
];

for (const { fixture, behaviour, last, reason, byHand } of failures) {
  test(`fails a file for ${behaviour}`, async () => {
    const { code, output, lastLine } = await runFixture(fixture);
    equal(lastLine, last, output);
    is(code, 1);
    match(output, reason);
  });
  if (byHand === false) continue;
  test(`fails a file for ${behaviour} when it is run by hand`, async () => {
    const { code, output } = await runByHand(fixture);
    is.not(code, 0, output);
  });
}

test("passes a file whose tests pass", async () => {
  const { code, output, lastLine } = await runFixture("passes");
  equal(lastLine, "2 passed, 0 failed, 0 skipped", output);
  is(code, 0);
});

test("counts a skipped suite and tells the reason once, without running its hooks", async () => {
  const { code, output, lastLine } = await runFixture("skipped");
  equal(lastLine, "1 passed, 0 failed, 2 skipped", output);
  is(code, 0);
  is(output.match(/the moon is not reachable/g)?.length, 1, output);
});

test("fails when everything was skipped, for nothing ran", async () => {
  const { code, output, lastLine } = await runFixture("only-skipped");
  equal(lastLine, "0 passed, 0 failed, 1 skipped", output);
  is(code, 1);
});

test("fails when no file matches", async () => {
  const { code, lastLine } = await runNode([join(buildRoot, "run.js"), "no-such-file-anywhere"]);
  equal(lastLine, "0 passed, 0 failed, 0 skipped");
  is(code, 1);
});

test("ends the processes that a file has started when its time is over", async () => {
  const { code, output } = await runFixture("grandchild");
  is(code, 1);
  const port = Number(/grandchild listens on (\d+)/.exec(output)?.[1]);
  is(Number.isInteger(port), true, output);
  const connection = connect({ host: "127.0.0.1", port });
  const [error] = await once(connection, "error");
  is((error as NodeJS.ErrnoException).code, "ECONNREFUSED");
});

test.run();
