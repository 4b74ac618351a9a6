/** Compares a verdict with what a vector expects of it. */
import * as assert from "uvu/assert";
import type { VectorCase } from "../vectors/load.ts";

type Verdict = { readonly accepted: true } | { readonly accepted: false; readonly reason: string };

/** Accept or refuse must agree; a refusal's reason is the vector's or one that it implies. */
export function assertVerdict(verdict: Verdict, item: VectorCase): void {
  const found = verdict.accepted ? "accept" : "refuse";
  assert.is(found, item.expect, verdict.accepted ? "accepted" : verdict.reason);
  if (verdict.accepted || item.reason === undefined) return;
  const reasons = [item.reason, ...(item.also ?? [])];
  assert.ok(reasons.includes(verdict.reason), `${verdict.reason} is none of ${reasons.join(", ")}`);
}
