/** A platform's own inbox: the activities that were accepted for it. */
import { and, arrayContains, count, isNotNull, sql } from "drizzle-orm";
import type { ActivityPage } from "../outbox/collection.ts";
import type { JsonObject } from "../protocol/objects.ts";
import type { PlatformCaller } from "../registry/caller.ts";
import { keyset, type PageRequest } from "../registry/paging.ts";
import type { Tx } from "../storage/database.ts";
import { receivedActivities } from "../storage/schema.ts";

/** Newest first; what came for this platform. */
export async function listInbox(tx: Tx, caller: PlatformCaller, request: PageRequest): Promise<ActivityPage> {
  const page = keyset(
    request,
    { received_at: { by: sql`${receivedActivities.receivedAt}`, type: "timestamptz" } },
    "-received_at",
    { column: sql`${receivedActivities.id}`, type: "text" },
  );
  const own = and(arrayContains(receivedActivities.recipients, [caller.uri]), isNotNull(receivedActivities.body));
  const rows = await tx
    .select({ body: receivedActivities.body, key: receivedActivities.id, position: page.position })
    .from(receivedActivities)
    .where(and(own, page.after))
    .orderBy(...page.orderBy)
    .limit(page.limit);
  const [{ total } = { total: 0 }] = await tx.select({ total: count() }).from(receivedActivities).where(own);
  return { ...page.toPage(rows, (row) => row.body as JsonObject), total: Number(total) };
}
