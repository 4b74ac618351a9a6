/** Access rows: who may read an object. They follow the grants of its newest snapshot; lists are queries on them. */
import { and, eq, gt, inArray, isNull, lte, notInArray, or, sql } from "drizzle-orm";
import { latestBegin } from "../protocol/grants.ts";
import type { Grant } from "../protocol/objects.ts";
import type { Tx } from "../storage/database.ts";
import { accessRows } from "../storage/schema.ts";

export type AccessMode = "owner" | "editable" | "readonly";

/** Holds at `now`: begun, not expired, not withdrawn. */
export function holdsAt(now: Date) {
  return and(
    isNull(accessRows.endedRevision),
    lte(accessRows.startsAt, latestBegin(now)),
    or(isNull(accessRows.expiresAt), gt(accessRows.expiresAt, now)),
  );
}

/**
 * One writer at a time for an object, whether its row exists or not. Must be the first thing that a transaction does
 * to the object, so that what it reads afterwards is what it changes.
 */
export async function lockObject(tx: Tx, uri: string): Promise<void> {
  await tx.execute(sql`select pg_advisory_xact_lock(hashtextextended(${uri}, 0))`);
}

/** Makes the rows follow a snapshot's owner and grants; whoever is not granted any more ends at that revision. */
export async function followGrants(
  tx: Tx,
  snapshot: {
    readonly uri: string;
    readonly owner: string;
    readonly grants: readonly Grant[];
    readonly revision: number;
  },
  now: Date,
): Promise<void> {
  const { uri, owner, grants, revision } = snapshot;
  const rows = [
    { platformUri: owner, mode: "owner" as AccessMode, startsAt: now, expiresAt: null },
    ...grants.map((grant) => ({
      platformUri: grant.platform,
      mode: grant.mode as AccessMode,
      startsAt: new Date(grant.from),
      expiresAt: grant.expires === undefined ? null : new Date(grant.expires),
    })),
  ];
  await tx
    .insert(accessRows)
    .values(rows.map((row) => ({ objectUri: uri, ...row })))
    .onConflictDoUpdate({
      target: [accessRows.objectUri, accessRows.platformUri],
      set: {
        mode: sql`excluded.mode`,
        startsAt: sql`excluded.starts_at`,
        expiresAt: sql`excluded.expires_at`,
        endedRevision: null,
      },
      // A withdrawal that overtook this snapshot stays; so does the instant from which the owner is the owner.
      setWhere: sql`${accessRows.mode} <> 'owner' and (${accessRows.endedRevision} is null or ${accessRows.endedRevision} < ${revision})`,
    });
  await tx
    .update(accessRows)
    .set({ endedRevision: revision })
    .where(
      and(
        eq(accessRows.objectUri, uri),
        isNull(accessRows.endedRevision),
        notInArray(
          accessRows.platformUri,
          rows.map((row) => row.platformUri),
        ),
      ),
    );
}

/** Ends a platform's access at `revision`, also where nothing of the object came here yet. */
export async function endAccess(tx: Tx, uri: string, platformUri: string, revision: number, now: Date): Promise<void> {
  await tx
    .insert(accessRows)
    .values({ objectUri: uri, platformUri, mode: "readonly", startsAt: now, endedRevision: revision })
    .onConflictDoUpdate({
      target: [accessRows.objectUri, accessRows.platformUri],
      set: { endedRevision: sql`greatest(coalesce(${accessRows.endedRevision}, 0), ${revision})` },
    });
}

/** The revision at which each of `platformUris` was withdrawn, where it was. */
export async function readWithdrawals(
  tx: Tx,
  uri: string,
  platformUris: readonly string[],
): Promise<ReadonlyMap<string, number>> {
  if (platformUris.length === 0) return new Map();
  const rows = await tx
    .select({ platform: accessRows.platformUri, revision: accessRows.endedRevision })
    .from(accessRows)
    .where(and(eq(accessRows.objectUri, uri), inArray(accessRows.platformUri, [...platformUris])));
  return new Map(rows.flatMap((row) => (row.revision === null ? [] : [[row.platform, row.revision] as const])));
}

/** What a platform may do with an object now; undefined when nothing. */
export async function readMode(tx: Tx, uri: string, platformUri: string, now: Date): Promise<AccessMode | undefined> {
  const [row] = await tx
    .select({ mode: accessRows.mode })
    .from(accessRows)
    .where(and(eq(accessRows.objectUri, uri), eq(accessRows.platformUri, platformUri), holdsAt(now)));
  return row?.mode;
}

/** Everybody who holds access to an object that was not withdrawn. */
export async function listHolders(tx: Tx, uri: string): Promise<readonly string[]> {
  const rows = await tx
    .select({ platform: accessRows.platformUri })
    .from(accessRows)
    .where(and(eq(accessRows.objectUri, uri), isNull(accessRows.endedRevision)));
  return rows.map((row) => row.platform);
}
