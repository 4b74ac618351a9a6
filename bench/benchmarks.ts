/** Every benchmark, in the order in which they run. */
import type { Benchmark } from "./figure.ts";
import { inboxBenchmarks } from "./inbox.ts";
import { vaultBenchmarks } from "./vault.ts";

export const benchmarks: readonly Benchmark[] = [...inboxBenchmarks, ...vaultBenchmarks];
