/** An item of `hf:bundles`: the bundles of a platform that others pass on, then its membership (docs/protocol.md, "Activities"). */
import { isJsonObject, type JsonObject } from "../protocol/objects.ts";
import {
  type AcceptedBundle,
  type BundleReason,
  judgeNextBundle,
  readBundleChain,
  readBundleSeq,
} from "./key-bundle.ts";
import { judgeMembership, type MembershipReason } from "./membership.ts";

export type BundleItemReason = BundleReason | MembershipReason | "item_shape" | "not_ascending";

export type BundleItemVerdict =
  | {
      readonly accepted: true;
      /** In the order sent; those that are `known` bring nothing new. */
      readonly bundles: readonly { readonly bundle: JsonObject; readonly accepted: AcceptedBundle }[];
      readonly membership: { readonly membership: string; readonly iat: number; readonly exp: number };
    }
  | { readonly accepted: false; readonly reason: BundleItemReason };

/** Judges an item against `known`, the bundles held in order; times in seconds. Nothing of a refused item is taken. */
export async function judgeBundleItem({
  known,
  item,
  actor,
  heldIat = null,
  now,
}: {
  readonly known: readonly unknown[];
  readonly item: unknown;
  readonly actor: string;
  readonly heldIat?: number | null;
  readonly now: number;
}): Promise<BundleItemVerdict> {
  if (!isJsonObject(item) || !Array.isArray(item.bundles) || item.bundles.length === 0) return refuse("item_shape");
  if (typeof item.membership !== "string") return refuse("item_shape");
  if (item.actor !== actor) return refuse("actor_mismatch");
  const sent = item.bundles as unknown[];
  // Before anything costly: what is not in order is not looked at.
  const seqs = sent.map(readBundleSeq);
  for (const [index, seq] of seqs.entries()) {
    const before = index === 0 ? null : (seqs[index - 1] ?? null);
    if (seq !== null && before !== null && seq <= before) return refuse("not_ascending");
  }
  let chain = readBundleChain(known);
  const bundles: { bundle: JsonObject; accepted: AcceptedBundle }[] = [];
  for (const [index, bundle] of sent.entries()) {
    const isNewest = index === sent.length - 1;
    const judged = await judgeNextBundle({ chain, bundle, now, mayBeExpired: !isNewest });
    const { verdict } = judged;
    // History below what is held here: sent for those who lack it, nothing to take and nothing to judge by.
    if (!verdict.accepted && verdict.reason === "seq_lower" && !isNewest) continue;
    if (!verdict.accepted) return refuse(verdict.reason);
    chain = judged.chain;
    bundles.push({ bundle: bundle as JsonObject, accepted: verdict });
  }
  const { membership } = item;
  const verdict = await judgeMembership({ membership, bundle: sent.at(-1), actor, heldIat, now });
  if (!verdict.accepted) return refuse(verdict.reason);
  return { accepted: true, bundles, membership: { membership, iat: verdict.iat, exp: verdict.exp } };
}

function refuse(reason: BundleItemReason): BundleItemVerdict {
  return { accepted: false, reason };
}
