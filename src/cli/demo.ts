/** `demo`: three nodes on loopback, real example data, the whole scenario, each step shown. */
import { rmSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createProgress } from "./demo/progress.ts";
import { type Cast, nodesOf, playScenario, prepareCast } from "./demo/scenario.ts";
import { describeRunning } from "./demo/summary.ts";
import { processTerminal } from "./output.ts";
import { CliError } from "./prompt.ts";

/**
 * Plays the scenario; with `once` it ends then, otherwise the nodes run until the process is told to end. Either way
 * nothing is left: no process, no file.
 * @throws what the step threw that failed; {CliError} `interrupted`, `node_ended`
 */
export async function runDemo({ once = false, json = false }: { once?: boolean; json?: boolean }): Promise<void> {
  const terminal = processTerminal();
  const interruption = watchForInterruption();
  const directory = await mkdtemp(join(tmpdir(), "concordat-demo-"));
  let cast: Cast | undefined;
  const endNow = () => {
    for (const node of cast === undefined ? [] : nodesOf(cast)) node.killNow();
    rmSync(directory, { recursive: true, force: true });
  };
  // The last resort, when something ends this process before the orderly end below.
  process.once("exit", endNow);
  try {
    cast = await prepareCast(directory, interruption.signal);
    const progress = createProgress(terminal, json);
    await playScenario(cast, progress);
    interruption.signal.throwIfAborted();
    if (once) return;
    if (!json) terminal.out(describeRunning(cast));
    await Promise.race([interruption.signalled, anyEnd(cast)]);
  } finally {
    if (cast !== undefined) await Promise.all(nodesOf(cast).map((node) => node.stop()));
    await rm(directory, { recursive: true, force: true, maxRetries: 3 });
    process.off("exit", endNow);
    interruption.stop();
  }
}

async function anyEnd(cast: Cast): Promise<never> {
  const name = await Promise.race(nodesOf(cast).map((node) => node.ended().then(() => node.name)));
  throw new CliError("node_ended", `The node ${name} ended by itself; the demo ends with it.`);
}

const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

interface Interruption {
  /** Aborted by the first signal that tells this process to end. */
  readonly signal: AbortSignal;
  readonly signalled: Promise<void>;
  stop(): void;
}

function watchForInterruption(): Interruption {
  const controller = new AbortController();
  const { signal } = controller;
  const signalled = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
  const interrupt = () => {
    const message = "The demo was interrupted; its nodes are ended and its files removed.";
    controller.abort(new CliError("interrupted", message));
  };
  for (const name of signals) process.on(name, interrupt);
  return {
    signal,
    signalled,
    stop: () => {
      for (const name of signals) process.off(name, interrupt);
    },
  };
}
