/** `demo`: three nodes on loopback, real example data, the whole scenario, each step shown. */
import { rmSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createProgress } from "./demo/progress.ts";
import { type Cast, nodesOf, playScenario, prepareCast } from "./demo/scenario.ts";
import { showSummary } from "./demo/summary.ts";
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
    cast = await prepareCast(directory);
    const progress = createProgress(terminal, json);
    const interrupted = interruption.signalled.then(() => {
      throw new CliError("interrupted", "The demo was interrupted; its nodes are ended and its files removed.");
    });
    await Promise.race([playScenario(cast, progress), interrupted]);
    if (!json) showSummary(terminal, cast, progress.finished, !once);
    if (!once) await Promise.race([interruption.signalled, anyEnd(cast)]);
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

function watchForInterruption(): { readonly signalled: Promise<void>; stop(): void } {
  let tell = () => {};
  const signalled = new Promise<void>((resolve) => {
    tell = resolve;
  });
  for (const signal of signals) process.on(signal, tell);
  return {
    signalled,
    stop: () => {
      for (const signal of signals) process.off(signal, tell);
    },
  };
}
