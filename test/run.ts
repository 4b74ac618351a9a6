import { join } from "node:path";
import { parseArgs } from "node:util";
import { describeTestFile, findTestFiles, type TestFile } from "./harness/files.ts";
import { type FileOutcome, killGroup, runningGroups, runTestFile } from "./harness/process.ts";
import { noPostgres, noRedis, type ResolvedServers, resolveServers } from "./harness/servers.ts";

/**
 * Runs the compiled test files, each in a process of its own, two at a time: `npm test -- [GROUP or part of a path …]`.
 * A file fails on a failing test, a non-zero exit, a time-out, no test, fewer outcomes than tests, a failing hook or a
 * handle that stays open. The last line is `N passed, N failed, N skipped`; exit 1 on any failure and when nothing ran.
 * `--long` runs the files `*.long.test.ts` instead; `--file NAME` runs one file below `test/`, whatever its ending.
 */

const filesAtOnce = 2;
const root = join(import.meta.dirname, "..", "..");

const { values, positionals } = parseArgs({
  options: { long: { type: "boolean", default: false }, file: { type: "string" } },
  allowPositionals: true,
});

const files =
  values.file === undefined
    ? findTestFiles(root, positionals, values.long)
    : [describeTestFile(root, values.file, values.long)];
process.exitCode = await runAll(files);

async function runAll(files: readonly TestFile[]): Promise<number> {
  const resolved = await resolveServers();
  let stopping = false;
  const stop = async (signal: NodeJS.Signals) => {
    if (stopping) return;
    stopping = true;
    for (const group of runningGroups) killGroup(group);
    await resolved[Symbol.asyncDispose]();
    process.stderr.write(`stopped by ${signal}\n`);
    process.exit(130);
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => void stop(signal));

  if (resolved.servers.postgres === undefined) console.log(`NOTE: ${noPostgres}; suites that need it are skipped`);
  if (resolved.servers.redis === undefined) console.log(`NOTE: ${noRedis}; suites that need it are skipped`);

  const outcomes: FileOutcome[] = [];
  const queue = files.map((file, number) => ({ file, prefix: `${resolved.servers.prefix}${number}_` }));
  const worker = async () => {
    for (let next = queue.shift(); next !== undefined && !stopping; next = queue.shift()) {
      const outcome = await runTestFile(next.file, { ...resolved.servers, prefix: next.prefix });
      if (stopping) return;
      outcomes.push(outcome);
      printOutcome(outcome);
      await dropTraces(resolved, next.prefix);
    }
  };
  await Promise.all(Array.from({ length: filesAtOnce }, worker));
  if (stopping) return 130;
  await resolved[Symbol.asyncDispose]();
  return printTotals(outcomes);
}

/** A file's databases go when it ends; one that cannot be dropped now goes with the run. */
async function dropTraces(resolved: ResolvedServers, prefix: string): Promise<void> {
  await resolved.dropOf(prefix).catch((error: unknown) => console.log(`NOTE: ${String(error)}`));
}

function printOutcome({ file, passed, failed, skipped, reasons, output, seconds }: FileOutcome): void {
  const counts = `${passed} passed${failed > 0 ? `, ${failed} failed` : ""}${skipped > 0 ? `, ${skipped} skipped` : ""}`;
  console.log(`${reasons.length === 0 ? "ok  " : "FAIL"} ${file.name}  ${counts}  ${seconds.toFixed(1)} s`);
  if (reasons.length === 0) return;
  for (const reason of reasons) console.log(`     ${reason}`);
  console.log(output.replace(/\n*$/, "\n").replace(/^(?=.)/gm, "     | "));
}

function printTotals(outcomes: readonly FileOutcome[]): number {
  const sum = (key: "passed" | "failed" | "skipped") => outcomes.reduce((total, outcome) => total + outcome[key], 0);
  const [passed, failed, skipped] = [sum("passed"), sum("failed"), sum("skipped")];
  for (const reason of new Set(outcomes.flatMap((outcome) => [...outcome.skipReasons]))) {
    console.log(`\n!!! SKIPPED: ${reason}`);
  }
  const failures = outcomes.filter((outcome) => outcome.reasons.length > 0);
  if (failures.length > 0) console.log(`\nfailed: ${failures.map((outcome) => outcome.file.name).join(", ")}`);
  if (passed + failed === 0) console.log("\nnothing ran: no test file matches, or all were skipped");
  console.log(`\n${passed} passed, ${failed} failed, ${skipped} skipped`);
  return failed > 0 || passed === 0 ? 1 : 0;
}
