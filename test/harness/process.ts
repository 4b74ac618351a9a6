import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import type { TestFile } from "./files.ts";
import { type ReportLine, reportDescriptorName } from "./report.ts";
import { type TestServers, testServersName } from "./servers.ts";

/** What became of one file. `reasons` tells why it failed, empty where it passed. */
export interface FileOutcome {
  readonly file: TestFile;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly skipReasons: ReadonlySet<string>;
  readonly reasons: readonly string[];
  readonly output: string;
  readonly seconds: number;
}

/** How long a file may live on after its last suite has ended. */
const lingerMilliseconds = 5_000;

/** Groups of the processes that run now, for whoever must end them at once. */
export const runningGroups = new Set<number>();

/** Ends every process of a group; one that is gone already is no failure. */
export function killGroup(group: number): void {
  try {
    process.kill(-group, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** Runs one file in a process (and process group) of its own and judges it by its report, its exit and its time. */
export async function runTestFile(file: TestFile, servers: TestServers): Promise<FileOutcome> {
  const started = performance.now();
  const child = spawn(process.execPath, ["--enable-source-maps", file.compiled], {
    detached: true,
    stdio: ["ignore", "pipe", "pipe", "pipe", "ipc"],
    env: { ...process.env, [reportDescriptorName]: "3", [testServersName]: JSON.stringify(servers) },
  });
  const group = child.pid;
  if (group === undefined) throw new Error(`no process could be started for ${file.name}`);
  runningGroups.add(group);

  const output: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) stream?.on("data", (chunk: Buffer) => output.push(chunk));
  const tally = newTally();
  const cut = watchTime(file, group, tally);
  const lines = createInterface({ input: child.stdio[3] as Readable });
  lines.on("line", (line) => {
    count(tally, JSON.parse(line) as ReportLine);
    cut.progress();
  });

  const exit = await ended(child, group);
  cut.stop();
  runningGroups.delete(group);
  const reasons = [...cut.reasons(), ...judge(tally, exit, cut.reasons().length > 0)];
  return {
    file,
    passed: tally.passed,
    failed: Math.max(tally.failed, reasons.length > 0 ? 1 : 0),
    skipped: tally.skippedTests + [...tally.skippedSuites.values()].filter((tests) => tests === 0).length,
    skipReasons: tally.skipReasons,
    reasons,
    output: Buffer.concat(output).toString("utf8"),
    seconds: (performance.now() - started) / 1000,
  };
}

interface Tally {
  passed: number;
  failed: number;
  skippedTests: number;
  readonly suites: Map<number, SuiteTally>;
  /** Tests of each skipped suite. */
  readonly skippedSuites: Map<number, number>;
  readonly skipReasons: Set<string>;
}

interface SuiteTally {
  readonly name: string;
  readonly declared: string[];
  readonly outcomes: string[];
  readonly failedHooks: string[];
  started: boolean;
  ended: boolean;
}

function newTally(): Tally {
  return {
    passed: 0,
    failed: 0,
    skippedTests: 0,
    suites: new Map(),
    skippedSuites: new Map(),
    skipReasons: new Set(),
  };
}

function count(tally: Tally, line: ReportLine): void {
  if (line.kind === "suite") {
    const { name } = line;
    tally.suites.set(line.suite, { name, declared: [], outcomes: [], failedHooks: [], started: false, ended: false });
    return;
  }
  if (line.kind === "skipped") {
    tally.suites.delete(line.suite);
    const before = tally.skippedSuites.get(line.suite);
    tally.skippedSuites.set(line.suite, before === undefined ? 0 : before + 1);
    if (before !== undefined) tally.skippedTests += 1;
    tally.skipReasons.add(line.reason);
    return;
  }
  const suite = tally.suites.get(line.suite);
  if (suite === undefined) return;
  if (line.kind === "declared") suite.declared.push(line.name);
  else if (line.kind === "hook-failed") suite.failedHooks.push(line.name);
  else if (line.kind === "started") suite.started = true;
  else if (line.kind === "ended") suite.ended = true;
  else {
    suite.outcomes.push(line.name);
    tally[line.kind] += 1;
  }
}

/** Why a file that ended by itself does not count as passed. */
function judge(tally: Tally, exit: Exit, wasCut: boolean): string[] {
  const reasons: string[] = [];
  if (tally.suites.size === 0 && tally.skippedSuites.size === 0) reasons.push("no test: the file declares no suite");
  for (const suite of tally.suites.values()) {
    const { name, declared, outcomes } = suite;
    const missing = declared.slice(outcomes.length);
    if (declared.length === 0) reasons.push(`no test in suite "${name}"`);
    else if (!suite.started) reasons.push(`suite "${name}" was never run: .run() is missing`);
    else if (missing.length > 0) {
      const names = missing.map((test) => `"${test}"`).join(", ");
      reasons.push(`suite "${name}": ${outcomes.length} outcomes for ${declared.length} tests, none for ${names}`);
    }
    for (const hook of suite.failedHooks) reasons.push(`suite "${name}": ${hook} threw`);
  }
  if (tally.failed > 0) reasons.push(`${tally.failed} tests failed`);
  if (!wasCut && exit.signal !== null) reasons.push(`ended by ${exit.signal}`);
  if (!wasCut && exit.code !== null && exit.code !== 0) reasons.push(`exit code ${exit.code}`);
  return reasons;
}

/** Ends the file at its limit, or soon after its last suite has ended when something keeps the process alive. */
function watchTime(file: TestFile, group: number, tally: Tally) {
  const reasons: string[] = [];
  const cut = (reason: string) => {
    reasons.push(reason);
    killGroup(group);
  };
  const limit = file.limitMilliseconds;
  const limitTimer = setTimeout(() => cut(`time-out: did not end within ${limit / 1000} s`), limit);
  let lingerTimer: NodeJS.Timeout | undefined;
  return {
    progress() {
      clearTimeout(lingerTimer);
      const suites = [...tally.suites.values()].filter((suite) => suite.started);
      if (suites.length === 0 || suites.some((suite) => !suite.ended)) return;
      const reason = `an open handle kept the process alive ${lingerMilliseconds / 1000} s after its last test`;
      lingerTimer = setTimeout(() => cut(reason), lingerMilliseconds);
    },
    stop() {
      clearTimeout(limitTimer);
      clearTimeout(lingerTimer);
    },
    reasons: () => reasons,
  };
}

interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** Waits for the process, ends what it left in its group, and for its pipes, which an escaped child could hold open. */
async function ended(child: ChildProcess, group: number): Promise<Exit> {
  const closed = new Promise((resolve) => child.once("close", resolve));
  const exit = await new Promise<Exit>((resolve) => child.once("exit", (code, signal) => resolve({ code, signal })));
  killGroup(group);
  let timer: NodeJS.Timeout | undefined;
  const waited = new Promise((resolve) => {
    timer = setTimeout(resolve, 2_000);
  });
  await Promise.race([closed, waited]);
  clearTimeout(timer);
  for (const stream of child.stdio.slice(0, 4)) stream?.destroy();
  return exit;
}
