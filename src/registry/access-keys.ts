/** Access keys of platforms: shown once, stored hashed, several valid at once so that they can be changed without a gap. */
import { randomBytes } from "node:crypto";
import { and, eq, sql } from "drizzle-orm";
import { Problem } from "../errors.ts";
import { mintUuid } from "../protocol/ids.ts";
import type { Tx } from "../storage/database.ts";
import { accessKeys, platforms } from "../storage/schema.ts";
import { type Caller, nameCaller } from "./caller.ts";
import { nextWarning } from "./expiring-keys.ts";
import { recordEffects } from "./journal.ts";
import { keyset, type Page, type PageRequest } from "./paging.ts";
import { hashAccessKey } from "./sessions.ts";

export interface AccessKey {
  readonly id: string;
  readonly platform_id: string;
  readonly label: string;
  readonly start_datetime: string;
  readonly end_datetime: string;
  readonly archived_at: string | null;
  readonly last_used_at: string | null;
  readonly rights: readonly string[] | null;
  readonly prefix: string;
}

export interface NewAccessKey {
  readonly platformId: string;
  readonly label?: string | undefined;
  readonly startsAt?: Date | undefined;
  readonly endsAt?: Date | undefined;
  readonly rights?: readonly string[] | null | undefined;
}

type Row = typeof accessKeys.$inferSelect;

function present(row: Row): AccessKey {
  return {
    id: row.id,
    platform_id: row.platformId,
    label: row.label,
    start_datetime: row.startsAt.toISOString(),
    end_datetime: row.endsAt.toISOString(),
    archived_at: row.archivedAt?.toISOString() ?? null,
    last_used_at: row.lastUsedAt?.toISOString() ?? null,
    rights: row.rights,
    prefix: row.prefix,
  };
}

const reversed = () =>
  new Problem("invalid", "The key would end before it begins.", {
    errors: [{ path: "end_datetime", code: "invalid", message: "ends before it begins" }],
  });

/**
 * Issues a key; `key` is the secret, here and nowhere else.
 * @throws {Problem} `unknown_reference`, `invalid`
 */
export async function issueAccessKey(
  tx: Tx,
  caller: Caller,
  wanted: NewAccessKey,
  { now, days }: { readonly now: Date; readonly days: number },
): Promise<AccessKey & { readonly key: string }> {
  const [platform] = await tx
    .select({ uri: platforms.uri, status: platforms.status })
    .from(platforms)
    .where(and(eq(platforms.id, wanted.platformId), sql`${platforms.homeOrigin} is null`));
  if (!platform || platform.status === "removed") {
    throw new Problem("unknown_reference", "platform_id names no platform of this node.");
  }
  const startsAt = wanted.startsAt ?? now;
  const endsAt = wanted.endsAt ?? new Date(startsAt.getTime() + days * 86_400_000);
  if (endsAt <= startsAt) throw reversed();
  const key = `ck_${randomBytes(32).toString("base64url")}`;
  const row: Row = {
    id: mintUuid(),
    platformId: wanted.platformId,
    label: wanted.label ?? `key of ${now.toISOString().slice(0, 10)}`,
    hash: hashAccessKey(key),
    prefix: key.slice(0, 9),
    rights: wanted.rights ? [...wanted.rights] : null,
    startsAt,
    endsAt,
    archivedAt: null,
    lastUsedAt: null,
    warnAt: nextWarning(endsAt, now),
    createdAt: now,
  };
  await tx.insert(accessKeys).values(row);
  await recordEffects(tx, {
    at: now,
    actor: nameCaller(caller),
    action: "access_key.issued",
    object: platform.uri,
    data: { key: row.prefix },
  });
  return { ...present(row), key };
}

function visibleTo(caller: Caller) {
  return caller.kind === "platform" ? eq(accessKeys.platformId, caller.id) : undefined;
}

/** Keys that the caller may see: an administrator all, a platform its own. */
export async function listAccessKeys(
  tx: Tx,
  caller: Caller,
  request: PageRequest & { readonly platformId?: string | undefined },
): Promise<Page<AccessKey>> {
  const page = keyset(
    request,
    { created_at: { by: sql`${accessKeys.createdAt}`, type: "timestamptz" } },
    "created_at",
    { column: sql`${accessKeys.id}`, type: "uuid" },
  );
  const ofPlatform = request.platformId === undefined ? undefined : eq(accessKeys.platformId, request.platformId);
  const rows = await tx
    .select({ row: accessKeys, key: accessKeys.id, position: page.position })
    .from(accessKeys)
    .where(and(visibleTo(caller), ofPlatform, page.after))
    .orderBy(...page.orderBy)
    .limit(page.limit);
  return page.toPage(rows, ({ row }) => present(row));
}

const selectRow = (tx: Tx, caller: Caller, id: string) =>
  tx
    .select()
    .from(accessKeys)
    .where(and(eq(accessKeys.id, id), visibleTo(caller)));

/** @throws {Problem} `not_found` */
export async function getAccessKey(tx: Tx, caller: Caller, id: string): Promise<AccessKey> {
  const [row] = await selectRow(tx, caller, id);
  if (!row) throw new Problem("not_found");
  return present(row);
}

async function lockRow(tx: Tx, caller: Caller, id: string): Promise<Row> {
  const [row] = await selectRow(tx, caller, id).for("update");
  if (!row) throw new Problem("not_found");
  return row;
}

/** The key as it stays until the transaction ends. @throws {Problem} `not_found` */
export async function lockAccessKey(tx: Tx, caller: Caller, id: string): Promise<AccessKey> {
  return present(await lockRow(tx, caller, id));
}

export interface AccessKeyChange {
  readonly label?: string | undefined;
  readonly startsAt?: Date | undefined;
  readonly endsAt?: Date | undefined;
}

/** @throws {Problem} `not_found`, `invalid`, `state_conflict` for an archived key */
export async function changeAccessKey(
  tx: Tx,
  caller: Caller,
  id: string,
  change: AccessKeyChange,
  now: Date,
): Promise<AccessKey> {
  const before = await lockRow(tx, caller, id);
  if (before.archivedAt) throw new Problem("state_conflict", "An archived key is over; issue another one.");
  const row = {
    ...before,
    label: change.label ?? before.label,
    startsAt: change.startsAt ?? before.startsAt,
    endsAt: change.endsAt ?? before.endsAt,
    warnAt: change.endsAt ? nextWarning(change.endsAt, now) : before.warnAt,
  };
  if (row.endsAt <= row.startsAt) throw reversed();
  return await writeChange(tx, caller, row, "access_key.changed", now);
}

/** Ends a key now, and every session that it opened. @throws {Problem} `not_found` */
export async function archiveAccessKey(tx: Tx, caller: Caller, id: string, now: Date): Promise<AccessKey> {
  const before = await lockRow(tx, caller, id);
  if (before.archivedAt) return present(before);
  const endsAt = before.endsAt < now ? before.endsAt : now;
  return await writeChange(tx, caller, { ...before, endsAt, archivedAt: now }, "access_key.archived", now);
}

async function writeChange(tx: Tx, caller: Caller, row: Row, action: string, now: Date): Promise<AccessKey> {
  const { label, startsAt, endsAt, archivedAt, warnAt } = row;
  await tx.update(accessKeys).set({ label, startsAt, endsAt, archivedAt, warnAt }).where(eq(accessKeys.id, row.id));
  await recordEffects(tx, { at: now, actor: nameCaller(caller), action, object: row.id, data: { key: row.prefix } });
  return present(row);
}
