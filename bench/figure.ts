/** What a benchmark gives: one figure, beside what was measured in the same run to compare it with. */
import type { Store } from "../test/harness/node.ts";

export type Profile = "embedded" | "server";
export const profiles: readonly Profile[] = ["embedded", "server"];
export const storeOf: Readonly<Record<Profile, Store>> = { embedded: "pglite", server: "postgres" };

export interface Figure {
  readonly name: string;
  readonly profile: Profile;
  readonly value: number;
  readonly unit: string;
  readonly beside: { readonly what: string; readonly value: number } | null;
  /** `value` by `beside.value`. */
  readonly ratio: number | null;
  /** How many were measured. */
  readonly n: number;
}

/** A figure with its ratio, its members in the order in which they are printed; numbers are rounded to what they mean. */
export function figureOf({ name, profile, value, unit, beside, n }: Omit<Figure, "ratio">): Figure {
  return {
    name,
    profile,
    value: round(value),
    unit,
    beside: beside && { ...beside, value: round(beside.value) },
    ratio: beside ? Math.round((value / beside.value) * 100) / 100 : null,
    n,
  };
}

const round = (value: number) => (value < 100 ? Math.round(value * 100) / 100 : Math.round(value));

/** One benchmark: which figures it gives, and how. */
export interface Benchmark {
  readonly names: readonly string[];
  /** In which profiles it says something; both where it is absent. */
  readonly profiles?: readonly Profile[];
  readonly run: (profile: Profile) => AsyncIterable<Figure>;
}

/** The value below which the share `part` (0 … 1) of the values lies. */
export function quantile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((one, other) => one - other);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
}
