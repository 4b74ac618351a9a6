/**
 * Key bundles and memberships, as platforms published them here and as peers passed them on. The node keeps copies and
 * judges them as a client would, so that nothing substituted spreads by it; clients judge again for themselves.
 */
import { and, asc, desc, eq, gte, inArray, isNull, max, or, sql } from "drizzle-orm";
import { judgeBundleItem } from "../crypto/bundle-items.ts";
import { type AcceptedBundle, judgeKeyBundle, readBundleSeq } from "../crypto/key-bundle.ts";
import { fingerprintOfThumbprint } from "../crypto/keys.ts";
import { judgeMembership } from "../crypto/membership.ts";
import { Problem } from "../errors.ts";
import { isCanonicalId, originOf } from "../protocol/ids.ts";
import { limits } from "../protocol/limits.ts";
import { isJsonObject, type JsonObject } from "../protocol/objects.ts";
import type { Tx } from "../storage/database.ts";
import { preparedOnce } from "../storage/prepared.ts";
import { accessRows, keyBundles, peers, platforms } from "../storage/schema.ts";
import { type Caller, nameCaller, type PlatformCaller } from "./caller.ts";
import { administrators, type RefusalCode, recordEffects, recordRefusal } from "./journal.ts";
import { peeredStates } from "./peer-states.ts";
import { remotePlatform } from "./remote-platforms.ts";

export type KeyBundleRow = typeof keyBundles.$inferSelect;

/** `3f2a 91c0 …` of an identity's thumbprint. */
export const fingerprintOfKid = fingerprintOfThumbprint;

/**
 * How many bundles of one item are judged; of all items of one activity it is `limits.bundles`. Items carry the newest
 * and what changed the identity: a hundred is fifty such changes, a thousand is what fits into the largest activity
 * beside its grantees.
 */
const bundlesPerItem = 100;
/** Refused items of one activity that are looked at. */
const refusalsPerActivity = 20;

const seconds = (now: Date) => Math.floor(now.getTime() / 1000);

/** The newest bundle of each platform that has one. */
export async function newestBundles(tx: Tx, uris: readonly string[]): Promise<ReadonlyMap<string, KeyBundleRow>> {
  if (uris.length === 0) return new Map();
  const rows = await tx
    .selectDistinctOn([keyBundles.platformUri])
    .from(keyBundles)
    .where(inArray(keyBundles.platformUri, [...uris]))
    .orderBy(keyBundles.platformUri, desc(keyBundles.seq));
  return new Map(rows.map((row) => [row.platformUri, row]));
}

/** The encryption kid of each platform's newest bundle. */
export async function newestKids(tx: Tx, uris: readonly string[]): Promise<ReadonlyMap<string, string>> {
  if (uris.length === 0) return new Map();
  const rows = await prepareNewest(tx).execute({ uris });
  return new Map(rows.map(({ uri, kid }) => [uri, kid]));
}

const prepareNewest = preparedOnce((tx: Tx) =>
  tx
    .selectDistinctOn([keyBundles.platformUri], { uri: keyBundles.platformUri, kid: keyBundles.encryptionKid })
    .from(keyBundles)
    .where(sql`${keyBundles.platformUri} = any(${sql.placeholder("uris")}::text[])`)
    .orderBy(keyBundles.platformUri, desc(keyBundles.seq))
    .prepare("find_newest_kids"),
);

/** Encryption kids of each platform's whole history, oldest first. */
export async function listKids(tx: Tx, uris: readonly string[]): Promise<ReadonlyMap<string, readonly string[]>> {
  if (uris.length === 0) return new Map();
  const rows = await tx
    .select({ uri: keyBundles.platformUri, kid: keyBundles.encryptionKid })
    .from(keyBundles)
    .where(inArray(keyBundles.platformUri, [...uris]))
    .orderBy(asc(keyBundles.seq));
  const kids = new Map<string, string[]>();
  for (const { uri, kid } of rows) kids.set(uri, [...(kids.get(uri) ?? []), kid]);
  return kids;
}

/**
 * What is held of a platform as far as these bundles are judged by it: the newest, and those of the same numbers and
 * the ones before them. A history grows for years; this does not.
 */
async function readKnown(tx: Tx, uri: string, offered: readonly unknown[]): Promise<readonly JsonObject[]> {
  const seqs = offered.map(readBundleSeq).flatMap((seq) => (seq === null ? [] : [seq - 1, seq]));
  const newest = tx
    .select({ seq: max(keyBundles.seq) })
    .from(keyBundles)
    .where(eq(keyBundles.platformUri, uri));
  const rows = await tx
    .select({ bundle: keyBundles.bundle })
    .from(keyBundles)
    .where(
      and(eq(keyBundles.platformUri, uri), or(inArray(keyBundles.seq, [...new Set(seqs)]), eq(keyBundles.seq, newest))),
    )
    .orderBy(asc(keyBundles.seq));
  return rows.map((row) => row.bundle);
}

/** Stores accepted bundles, ascending; those that are known are held already. */
async function storeBundles(
  tx: Tx,
  uri: string,
  judged: readonly { readonly bundle: JsonObject; readonly accepted: AcceptedBundle }[],
  now: Date,
): Promise<void> {
  // A bundle by the recovery key overrides the one of its number, and what a thief built on that.
  const overriding = judged.find(({ accepted }) => accepted.overrides);
  if (overriding !== undefined) {
    const { seq } = overriding.accepted;
    await tx.delete(keyBundles).where(and(eq(keyBundles.platformUri, uri), gte(keyBundles.seq, seq)));
  }
  const fresh = judged.filter(({ accepted }) => !accepted.known);
  if (fresh.length === 0) return;
  await tx
    .insert(keyBundles)
    .values(
      fresh.map(({ bundle, accepted }) => ({
        platformUri: uri,
        seq: accepted.seq,
        payloadDigest: accepted.payloadDigest,
        identityKid: accepted.identity,
        encryptionKid: accepted.encryption,
        expiresAt: new Date(accepted.exp * 1000),
        bundle,
        receivedAt: now,
      })),
    )
    .onConflictDoNothing();
}

/**
 * A platform publishes its newest bundle and its membership of this instance; true when something changed.
 * @throws {Problem} `not_found` for another platform's, `content_conflict` for equivocation, `bundle_refused` with `reason`
 */
export async function publishKeyBundle(
  tx: Tx,
  caller: PlatformCaller,
  id: string,
  { bundle, membership }: { readonly bundle: JsonObject; readonly membership: string },
  now: Date,
): Promise<boolean> {
  if (id !== caller.id) throw new Problem("not_found");
  const [platform] = await tx.select().from(platforms).where(eq(platforms.id, id)).for("update");
  if (platform?.status === "removed") throw new Problem("unauthenticated", "The platform is gone.");
  const known = await readKnown(tx, caller.uri, [bundle]);
  const verdict = await judgeKeyBundle({ known, bundle, now: seconds(now) });
  if (!verdict.accepted) {
    if (verdict.reason === "equivocation") {
      throw new Problem("content_conflict", "A bundle of that seq was published with another payload.");
    }
    throw new Problem("bundle_refused", `The key bundle is refused: ${verdict.reason}.`, { reason: verdict.reason });
  }
  const heldIat = platform?.membershipIat ?? null;
  const member = await judgeMembership({ membership, bundle, actor: caller.uri, heldIat, now: seconds(now) });
  if (!member.accepted) {
    throw new Problem("bundle_refused", `The membership is refused: ${member.reason}.`, { reason: member.reason });
  }
  await storeBundles(tx, caller.uri, [{ bundle, accepted: verdict }], now);
  await tx.update(platforms).set({ membership, membershipIat: member.iat }).where(eq(platforms.id, id));
  await recordEffects(tx, {
    at: now,
    actor: nameCaller(caller),
    action: "bundle.changed",
    object: caller.uri,
    data: { seq: verdict.seq },
    audience: [administrators],
  });
  return true;
}

/**
 * Which platform a caller may read keys of: any that is of this node or of an approved peer, and one that has access to
 * an object of the caller's, whatever its node is to ours.
 */
async function findReadable(tx: Tx, caller: Caller, id: string) {
  const [found] = await tx
    .select({ platform: platforms })
    .from(platforms)
    .leftJoin(peers, eq(peers.origin, platforms.homeOrigin))
    .where(
      and(eq(platforms.id, id), or(isNull(platforms.homeOrigin), eq(peers.state, "approved"), sharesWith(caller))),
    );
  if (!found) throw new Problem("not_found");
  return found.platform;
}

/** Has the platform of the row access to an object to which the caller has access? */
function sharesWith(caller: Caller) {
  if (caller.kind !== "platform") return undefined;
  return sql`exists (
    select 1 from ${accessRows} mine join ${accessRows} theirs on theirs.object_uri = mine.object_uri
    where mine.platform_uri = ${caller.uri} and mine.ended_revision is null
      and theirs.platform_uri = ${platforms.uri} and theirs.ended_revision is null)`;
}

/** Newest bundle and membership of a platform. @throws {Problem} `not_found`, also while it has published none */
export async function readPublished(tx: Tx, caller: Caller, id: string) {
  const platform = await findReadable(tx, caller, id);
  const bundle = (await newestBundles(tx, [platform.uri])).get(platform.uri);
  if (!bundle || platform.membership === null) throw new Problem("not_found", "No key bundle was published yet.");
  return { bundle: bundle.bundle, membership: platform.membership };
}

/** Bundles of a platform from `from` on, ascending. @throws {Problem} `not_found` */
export async function readKeyBundles(tx: Tx, caller: Caller, id: string, from: number): Promise<readonly JsonObject[]> {
  const platform = await findReadable(tx, caller, id);
  const rows = await tx
    .select({ bundle: keyBundles.bundle })
    .from(keyBundles)
    .where(and(eq(keyBundles.platformUri, platform.uri), gte(keyBundles.seq, from)))
    .orderBy(asc(keyBundles.seq));
  return rows.map((row) => row.bundle);
}

/**
 * Items of `hf:bundles` for these platforms: the newest bundle, and each that changed the identity with its predecessor,
 * ascending (docs/protocol.md, "Activities").
 */
export async function readBundleItems(tx: Tx, uris: readonly string[]): Promise<readonly JsonObject[]> {
  const members = await tx
    .select({ uri: platforms.uri, membership: platforms.membership })
    .from(platforms)
    .where(and(inArray(platforms.uri, [...new Set(uris)]), sql`${platforms.membership} is not null`));
  const items: JsonObject[] = [];
  for (const { uri, membership } of members) {
    const rows = await tx.select().from(keyBundles).where(eq(keyBundles.platformUri, uri)).orderBy(asc(keyBundles.seq));
    const needed = rows.filter((row, at) => {
      const next = rows[at + 1];
      const previous = rows[at - 1];
      return (
        next === undefined ||
        next.identityKid !== row.identityKid ||
        (previous !== undefined && previous.identityKid !== row.identityKid)
      );
    });
    items.push({ actor: uri, membership, bundles: needed.map((row) => row.bundle) });
  }
  return items;
}

/**
 * Stores what a peer passed on of key bundles: of its own platforms, and of platforms on nodes that are not our peers.
 * An item that does not verify, or has more bundles than are judged, is left out and journaled; the activity that
 * carried it stands for itself.
 */
export async function storeBundleItems(
  tx: Tx,
  {
    items,
    about,
    sender,
    home,
    now,
  }: {
    readonly items: readonly unknown[];
    /** Platforms elsewhere of which they may be; others are left out unseen. */
    readonly about: readonly string[];
    readonly sender: string;
    readonly home: string;
    readonly now: Date;
  },
): Promise<void> {
  const awaited = new Set(about);
  let judged = 0;
  let refused = 0;
  for (const item of items) {
    // Whoever sends so many does not mean well, and each costs a judgement and an entry.
    if (refused === refusalsPerActivity) return;
    const actor = isJsonObject(item) && typeof item.actor === "string" && isCanonicalId(item.actor) ? item.actor : null;
    if (actor === null) continue;
    const origin = originOf(actor);
    if (origin !== sender && !awaited.has(actor)) continue;
    if (origin === home || (origin !== sender && (await isPeer(tx, origin)))) continue;
    const bundles = (item as JsonObject).bundles;
    const offered = Array.isArray(bundles) ? (bundles as unknown[]) : [];
    if (offered.length > Math.min(bundlesPerItem, limits.bundles - judged)) {
      await refuseItem(tx, actor, "bundles_too_many", now);
      refused += 1;
      continue;
    }
    judged += offered.length;
    if (!(await storeBundleItem(tx, actor, { item, offered }, now))) refused += 1;
  }
}

/**
 * Forgets what others have said of the platforms of an origin that becomes a peer: from now on it speaks for them
 * itself, and hearsay must not stand against its word.
 */
export async function forgetHearsay(tx: Tx, origin: string): Promise<void> {
  const theirs = tx.select({ uri: platforms.uri }).from(platforms).where(eq(platforms.homeOrigin, origin));
  await tx.delete(keyBundles).where(inArray(keyBundles.platformUri, theirs));
  await tx.update(platforms).set({ membership: null, membershipIat: null }).where(eq(platforms.homeOrigin, origin));
}

async function isPeer(tx: Tx, origin: string): Promise<boolean> {
  const [row] = await tx
    .select({ id: peers.id })
    .from(peers)
    .where(and(eq(peers.origin, origin), inArray(peers.state, [...peeredStates])));
  return row !== undefined;
}

async function refuseItem(tx: Tx, actor: string, reason: RefusalCode, now: Date): Promise<void> {
  await recordRefusal(tx, reason, { at: now, actor, action: "bundle.refused", audience: [administrators] });
}

/** False when it was refused. */
async function storeBundleItem(
  tx: Tx,
  actor: string,
  { item, offered }: { readonly item: unknown; readonly offered: readonly unknown[] },
  now: Date,
): Promise<boolean> {
  const [platform] = await tx.select().from(platforms).where(eq(platforms.uri, actor));
  const known = await readKnown(tx, actor, offered);
  const heldIat = platform?.membershipIat ?? null;
  const verdict = await judgeBundleItem({ known, item, actor, heldIat, now: seconds(now) });
  if (!verdict.accepted) {
    await refuseItem(tx, actor, verdict.reason, now);
    return false;
  }
  await ensurePlatform(tx, actor, now);
  await storeBundles(tx, actor, verdict.bundles, now);
  const { membership, iat: membershipIat } = verdict.membership;
  await tx.update(platforms).set({ membership, membershipIat }).where(eq(platforms.uri, actor));
  if (verdict.bundles.some(({ accepted }) => !accepted.known)) {
    await recordEffects(tx, { at: now, actor, action: "bundle.changed", object: actor });
  }
  return true;
}

/** A platform that is known by its keys alone: its node is no peer of ours, but it shares an object with one of ours. */
async function ensurePlatform(tx: Tx, uri: string, now: Date): Promise<void> {
  await tx.insert(platforms).values(remotePlatform(uri, now)).onConflictDoNothing();
}
