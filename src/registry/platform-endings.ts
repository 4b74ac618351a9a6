/** The end of a platform, for good: of one of this node, and of one that its own node has removed. */
import { and, asc, eq, isNull, ne } from "drizzle-orm";
import { Problem } from "../errors.ts";
import type { Tx } from "../storage/database.ts";
import { accessKeys, accessRows, objects, platforms } from "../storage/schema.ts";
import { endAccess, lockObject } from "./access.ts";
import type { Announcement } from "./announcements.ts";
import { type Caller, nameCaller } from "./caller.ts";
import { administrators, recordEffects } from "./journal.ts";
import { reportOwners } from "./peer-endings.ts";
import { getPlatform, lockForRemoval, type Platform, type PlatformRow } from "./platforms.ts";
import { forgetUnread, receiveTombstone } from "./project-copies.ts";
import { deleteProjectsOf } from "./projects.ts";
import { remotePlatform } from "./remote-platforms.ts";

export interface RemovedPlatform {
  readonly row: PlatformRow;
  /** What the grantees of its projects are told. */
  readonly announcements: readonly Announcement[];
}

/** The platform as it stays until it is removed or the transaction ends. @throws {Problem} `not_found` */
export async function lockToRemove(tx: Tx, caller: Caller, id: string): Promise<Platform> {
  const { uri } = await getPlatform(tx, caller, id);
  await lockForRemoval(tx, uri);
  return await getPlatform(tx, caller, id);
}

/**
 * Removes a platform of this node, by itself or by an administrator: its projects are deleted, its access to others' and
 * its access keys end. The row stays, so that its handle is never given out again.
 * @throws {Problem} `not_found`, `state_conflict` for one that is at home elsewhere or removed already
 */
export async function removePlatform(tx: Tx, caller: Caller, id: string, now: Date): Promise<RemovedPlatform> {
  await lockToRemove(tx, caller, id);
  const [row] = await tx
    .update(platforms)
    .set({ status: "removed", updatedAt: now })
    .where(and(eq(platforms.id, id), isNull(platforms.homeOrigin), ne(platforms.status, "removed")))
    .returning();
  if (!row) throw new Problem("state_conflict", "That platform is at home on another instance, or was removed.");
  const announcements = await deleteProjectsOf(tx, caller, row.uri, now);
  await endAccessOf(tx, row.uri, now);
  await tx
    .update(accessKeys)
    .set({ archivedAt: now })
    .where(and(eq(accessKeys.platformId, id), isNull(accessKeys.archivedAt)));
  await recordEffects(tx, {
    at: now,
    actor: nameCaller(caller),
    action: "platform.removed",
    object: row.uri,
    audience: [row.uri, administrators],
  });
  return { row, announcements };
}

/** A peer says that one of its platforms is gone. It is remembered also when it was never known here. */
export async function receiveRemoval(tx: Tx, uri: string, now: Date): Promise<void> {
  const gone = { status: "removed" as const, updatedAt: now };
  await lockForRemoval(tx, uri);
  await tx
    .insert(platforms)
    .values(remotePlatform(uri, now, gone))
    .onConflictDoUpdate({ target: platforms.uri, set: gone });
  const copies = await tx
    .select({ uri: objects.uri })
    .from(objects)
    .where(and(eq(objects.ownerUri, uri), eq(objects.local, false), isNull(objects.deletedAt)))
    .orderBy(asc(objects.uri));
  for (const copy of copies) await receiveTombstone(tx, uri, copy.uri, now);
  await endAccessOf(tx, uri, now);
  const entry = { at: now, actor: uri, action: "platform.removed", object: uri, audience: [administrators] };
  await recordEffects(tx, entry);
}

/** Its access to what others own; they are told where they are at home here. */
async function endAccessOf(tx: Tx, uri: string, now: Date): Promise<void> {
  await reportOwners(tx, eq(accessRows.platformUri, uri), "platform_removed", now);
  const held = await tx
    .select({ uri: objects.uri, local: objects.local, revision: objects.revision })
    .from(accessRows)
    .innerJoin(objects, eq(objects.uri, accessRows.objectUri))
    .where(and(eq(accessRows.platformUri, uri), isNull(accessRows.endedRevision), ne(accessRows.mode, "owner")))
    .orderBy(asc(objects.uri));
  for (const object of held) {
    await lockObject(tx, object.uri);
    await endAccess(tx, object.uri, uri, object.revision, now);
    if (!object.local) await forgetUnread(tx, object.uri);
  }
}
