/** Access keys that are about to end: their platform and the administrators are told, so that another one is there in time. */
import { and, asc, eq, isNull, lte } from "drizzle-orm";
import { earlierNow } from "../storage/both-clocks.ts";
import type { Database, Tx } from "../storage/database.ts";
import { accessKeys, platforms } from "../storage/schema.ts";
import { administrators, recordEffects } from "./journal.ts";

/** Days before its end at which a key is told of. */
const warnings = [30, 7, 1];
const dayMilliseconds = 86_400_000;

/** Keys that one transaction tells of. */
const batch = 500;

/** When a key that ends at `endsAt` is told of next, after `now`; null when it was for the last time. */
export function nextWarning(endsAt: Date, now: Date): Date | null {
  const times = warnings.map((days) => new Date(endsAt.getTime() - days * dayMilliseconds));
  return times.find((time) => time > now) ?? null;
}

/** Tells of the keys whose time for it has come, once each, however many of their times have passed. */
export async function tellExpiringKeys(database: Database, now: Date): Promise<void> {
  let looked: number;
  do {
    looked = await database.transaction((tx) => tellBatch(tx, now));
  } while (looked === batch);
}

/** Gives how many keys it has looked at. */
async function tellBatch(tx: Tx, now: Date): Promise<number> {
  // By a clock that is ahead they would be told of too early, and not again.
  const today = earlierNow(now);
  const keys = await tx
    .select({
      id: accessKeys.id,
      prefix: accessKeys.prefix,
      endsAt: accessKeys.endsAt,
      platform: platforms.uri,
      today: today.mapWith(accessKeys.endsAt),
    })
    .from(accessKeys)
    .innerJoin(platforms, eq(platforms.id, accessKeys.platformId))
    .where(and(isNull(accessKeys.archivedAt), lte(accessKeys.warnAt, today)))
    .orderBy(asc(accessKeys.warnAt))
    .limit(batch)
    .for("update", { of: accessKeys, skipLocked: true });
  for (const { id, endsAt, today } of keys) {
    await tx
      .update(accessKeys)
      .set({ warnAt: nextWarning(endsAt, today) })
      .where(eq(accessKeys.id, id));
  }
  const living = keys.filter(({ endsAt, today }) => endsAt > today);
  const entries = living.map(({ id, prefix, endsAt, platform }) => ({
    at: now,
    actor: "node",
    action: "access_key.expiring",
    object: id,
    data: { platform, key: prefix, end_datetime: endsAt.toISOString() },
    audience: [platform, administrators],
  }));
  await recordEffects(tx, ...entries);
  return keys.length;
}
