/** Every benchmark, in the order in which they run. */
import type { Benchmark } from "./figure.ts";
import { inboxBenchmarks } from "./inbox.ts";
import { memoryBenchmarks } from "./memory.ts";
import { outboxBenchmarks } from "./outbox.ts";
import { projectsBenchmarks } from "./projects.ts";
import { shareBenchmarks } from "./share.ts";
import { startBenchmarks } from "./start.ts";
import { vaultBenchmarks } from "./vault.ts";

export const benchmarks: readonly Benchmark[] = [
  ...inboxBenchmarks,
  ...outboxBenchmarks,
  ...shareBenchmarks,
  ...projectsBenchmarks,
  ...vaultBenchmarks,
  ...startBenchmarks,
  ...memoryBenchmarks,
];
