import { suite as uvuSuite } from "uvu";
import { report } from "./report.ts";

/**
 * uvu, made unable to pass by accident. By itself it exits 0 on a throw in `before`, on a forgotten `.run()` and on
 * `Promise.reject()` without an error; here each of them fails the file, by hand (`node file.test.js`) as under the runner.
 */

type Step = () => Promise<void> | void;

interface Hook {
  (step: Step): void;
  /** Runs around every test of the suite. */
  each(step: Step): void;
}

/** A suite: call it with a name that tells the behaviour and a function; end the file with `.run()`. */
export interface Suite {
  (name: string, step: Step): void;
  before: Hook;
  after: Hook;
  run(): void;
}

interface Progress {
  readonly name: string;
  declared: number;
  outcomes: number;
  running: boolean;
  skipped: boolean;
  hookFailed: boolean;
}

const suites: Progress[] = [];

/** Starts a suite of uvu whose tests, hooks and outcomes are reported to the runner. */
export function suite(name: string): Suite {
  const { number, progress } = openSuite(name, false);
  const inner = uvuSuite(name);
  const beforeEach: Step[] = [];
  const afterEach: Step[] = [];

  const declare = (testName: string, step: Step) => {
    progress.declared += 1;
    report({ kind: "declared", suite: number, name: testName });
    inner(testName, async () => {
      let passed = false;
      try {
        await runTest(step, beforeEach, afterEach);
        passed = true;
      } catch (error) {
        throw asError(error);
      } finally {
        progress.outcomes += 1;
        report({ kind: passed ? "passed" : "failed", suite: number, name: testName });
      }
    });
  };
  const watched = (hookName: string, step: Step) => async () => {
    try {
      await step();
    } catch (error) {
      progress.hookFailed = true;
      report({ kind: "hook-failed", suite: number, name: hookName });
      process.stderr.write(`\nsuite "${name}": ${hookName} threw: ${asError(error).stack}\n`);
      // uvu goes on with the next suite after a throw in before; one in after would end the process here.
      if (hookName === "before") throw asError(error);
    }
  };
  const hook = (hookName: "before" | "after", each: Step[]): Hook =>
    Object.assign((step: Step) => inner[hookName](watched(hookName, step)), {
      each: (step: Step) => void each.push(step),
    });

  return Object.assign(declare, {
    before: hook("before", beforeEach),
    after: hook("after", afterEach),
    run() {
      progress.running = true;
      report({ kind: "started", suite: number });
      inner.after(() => report({ kind: "ended", suite: number }));
      inner.run();
    },
  });
}

/**
 * A suite that does not run here, with the reason (a server is absent, an interpreter is too old). Its tests count as
 * skipped, and the reason is printed once per run. There is no way to skip a single test.
 */
export function skipSuite(name: string, reason: string): Suite {
  const { number, progress } = openSuite(name, true);
  report({ kind: "skipped", suite: number, name, reason });
  if (suites.filter((other) => other.skipped).length === 1) process.stderr.write(`SKIPPED "${name}": ${reason}\n`);
  const ignore: Hook = Object.assign(() => {}, { each: () => {} });
  return Object.assign(
    (testName: string) => {
      progress.declared += 1;
      report({ kind: "skipped", suite: number, name: testName, reason });
    },
    { before: ignore, after: ignore, run: () => {} },
  );
}

function openSuite(name: string, skipped: boolean): { number: number; progress: Progress } {
  const progress = { name, declared: 0, outcomes: 0, running: false, skipped, hookFailed: false };
  const number = suites.push(progress) - 1;
  report({ kind: "suite", suite: number, name });
  return { number, progress };
}

async function runTest(step: Step, beforeEach: readonly Step[], afterEach: readonly Step[]): Promise<void> {
  try {
    for (const before of beforeEach) await before();
    await step();
  } finally {
    for (const after of afterEach) await after();
  }
}

/** uvu reads `name` and `stack` of what was thrown and breaks on anything else, undefined included. */
function asError(thrown: unknown): Error {
  return thrown instanceof Error
    ? thrown
    : new Error(`threw or rejected with ${String(thrown)}, which is not an Error`);
}

process.on("exit", () => {
  for (const complaint of complaints()) {
    process.stderr.write(`${complaint}\n`);
    process.exitCode = process.exitCode || 1;
  }
});

function* complaints(): Generator<string> {
  for (const { name, declared, outcomes, running, skipped, hookFailed } of suites) {
    if (skipped) continue;
    if (declared === 0) yield `suite "${name}" declares no test`;
    else if (!running) yield `suite "${name}" was never run: add .run() at the end of the file`;
    else if (outcomes < declared) yield `suite "${name}": only ${outcomes} of ${declared} tests had an outcome`;
    if (hookFailed) yield `suite "${name}": a hook failed`;
  }
}
