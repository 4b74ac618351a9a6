/** For whom an envelope must be sealed (docs/protocol.md, "Sealed envelope", kid set). */

export type KidsVerdict =
  | { readonly accepted: true }
  | { readonly accepted: false; readonly reason: KidsReason; readonly platforms: readonly string[] };

export type KidsReason = "recipients_stale" | "recipients_missing";

/**
 * At the owner's node: exactly one kid of each party, from its newest bundle. A refusal names the parties whose newest
 * kid is missing or that another kid belongs to (`history`: kids of every platform known here, to name strangers by).
 */
export function judgeSubmittedKids({
  kids,
  parties,
  newestKids,
  history = new Map(),
}: {
  readonly kids: readonly string[];
  readonly parties: readonly string[];
  readonly newestKids: ReadonlyMap<string, string>;
  readonly history?: ReadonlyMap<string, readonly string[]>;
}): KidsVerdict {
  const missing = parties.filter((platform) => {
    const kid = newestKids.get(platform);
    return kid === undefined || !kids.includes(kid);
  });
  const expected = new Set(parties.map((platform) => newestKids.get(platform)));
  const extra = kids.filter((kid) => !expected.has(kid));
  const repeated = new Set(kids).size !== kids.length;
  if (missing.length === 0 && extra.length === 0 && !repeated) return { accepted: true };
  const strangers = [...history]
    .filter(([, own]) => extra.some((kid) => own.includes(kid)))
    .map(([platform]) => platform);
  return { accepted: false, reason: "recipients_stale", platforms: [...new Set([...missing, ...strangers])] };
}

/** At a receiving node: each addressed local platform has a kid from any bundle of its history. */
export function judgeReceivedKids({
  kids,
  local,
  history,
}: {
  readonly kids: readonly string[];
  readonly local: readonly string[];
  readonly history: ReadonlyMap<string, readonly string[]>;
}): KidsVerdict {
  const missing = local.filter((platform) => !(history.get(platform) ?? []).some((kid) => kids.includes(kid)));
  if (missing.length > 0) return { accepted: false, reason: "recipients_missing", platforms: missing };
  return { accepted: true };
}

/** Those of `parties` for whom an envelope is to be sealed again: it has not the kid of their newest bundle. */
export function listUnsealed({
  kids,
  parties,
  newestKids,
}: {
  readonly kids: readonly string[];
  readonly parties: readonly string[];
  readonly newestKids: ReadonlyMap<string, string>;
}): readonly string[] {
  return parties.filter((platform) => {
    const newest = newestKids.get(platform);
    return newest !== undefined && !kids.includes(newest);
  });
}
