/** Key bundles of the node's own platforms: after their end nobody seals for the platform any more. */
import type { Platform } from "../registry/platforms.ts";
import { type Finding, findingsOf } from "./findings.ts";

const soonMilliseconds = 30 * 86_400_000;

export function examineBundles(platforms: readonly Platform[], now: Date): readonly Finding[] {
  const own = platforms.filter(({ home_instance: home, status }) => home === null && status === "active");
  const published = own.flatMap(({ uri, key_bundle: bundle }) => (bundle === null ? [] : [{ uri, bundle }]));
  const findings = published.flatMap(({ uri, bundle }) => {
    const { warning, wrong } = findingsOf("key bundle", uri);
    const left = Date.parse(bundle.expires_at) - now.getTime();
    const advice = "its people run `concordat keys rotate`";
    if (left <= 0) return [wrong(`It ended at ${bundle.expires_at}: ${advice}.`)];
    return left < soonMilliseconds ? [warning(`It ends at ${bundle.expires_at}: ${advice}.`)] : [];
  });
  if (findings.length > 0) return findings;
  return [findingsOf("key bundles").ok(`Those of ${published.length} platforms hold for 30 days and more.`)];
}
