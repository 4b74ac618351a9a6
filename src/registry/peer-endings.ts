/** What the end of a peering takes with it on this side (docs/protocol.md, "Peers"). */
import { and, eq, isNull, like, type SQL, sql } from "drizzle-orm";
import type { Tx } from "../storage/database.ts";
import { accessRows, objects } from "../storage/schema.ts";
import { type JournalEntry, recordEffects } from "./journal.ts";
import { findLocal } from "./platforms.ts";

/**
 * Forgets the ciphertext of what the peer's platforms shared with ours, and tells the owners here whose projects its
 * platforms hold: what was opened there cannot be recalled, and a later peering needs a new revision.
 */
export async function endSharingWith(tx: Tx, origin: string, now: Date): Promise<void> {
  const theirs = like(accessRows.platformUri, onOrigin(origin));
  await recordEffects(tx, ...(await forgetCopies(tx, origin, now)));
  await reportOwners(tx, theirs, "peering_ended", now);
}

const onOrigin = (origin: string) => `${origin.replace(/[\\%_]/g, "\\$&")}/%`;

async function forgetCopies(tx: Tx, origin: string, now: Date): Promise<readonly JournalEntry[]> {
  const copies = await tx
    .update(objects)
    .set({ object: null, ownerObject: null, updatedAt: now })
    .where(and(eq(objects.local, false), like(objects.uri, onOrigin(origin)), isNull(objects.deletedAt)))
    .returning({ uri: objects.uri, revision: objects.revision, owner: objects.ownerUri });
  const entries: JournalEntry[] = [];
  for (const { uri, revision, owner } of copies) {
    const ended = await tx
      .update(accessRows)
      .set({ endedRevision: revision })
      .where(and(eq(accessRows.objectUri, uri), isNull(accessRows.endedRevision)))
      .returning({ platform: accessRows.platformUri });
    const audience = [
      ...(await findLocal(
        tx,
        ended.map((row) => row.platform),
      )),
    ];
    if (audience.length === 0) continue;
    const data = { revision, reason: "peering_ended" };
    entries.push({ at: now, actor: owner, action: "project.unshared", object: uri, data, audience });
  }
  return entries;
}

/**
 * Tells the owners here that grantees of theirs cannot be reached any more. The rows stay, since they follow the object
 * that names them; nothing is sent or served to them.
 */
export async function reportOwners(tx: Tx, grantees: SQL, reason: string, now: Date): Promise<void> {
  const held = await tx
    .select({ uri: objects.uri, owner: objects.ownerUri, platform: accessRows.platformUri })
    .from(accessRows)
    .innerJoin(objects, eq(objects.uri, accessRows.objectUri))
    .where(
      and(
        eq(objects.local, true),
        isNull(objects.deletedAt),
        isNull(accessRows.endedRevision),
        grantees,
        sql`${accessRows.mode} <> 'owner'`,
      ),
    );
  const entries = held.map(({ uri, owner, platform }) => ({
    at: now,
    actor: "node",
    action: "project.unreachable",
    object: uri,
    data: { platform, reason },
    audience: [owner],
  }));
  await recordEffects(tx, ...entries);
}
