/** A platform's own outbox: the activities that it sent. */
import { and, count, eq, isNotNull, sql } from "drizzle-orm";
import type { JsonObject } from "../protocol/objects.ts";
import type { PlatformCaller } from "../registry/caller.ts";
import { keyset, type Page, type PageRequest } from "../registry/paging.ts";
import type { Tx } from "../storage/database.ts";
import { activities } from "../storage/schema.ts";

export type ActivityPage = Page<JsonObject> & { readonly total: number };

/** Newest first; without those whose body is gone after the retention. */
export async function listOutbox(tx: Tx, caller: PlatformCaller, request: PageRequest): Promise<ActivityPage> {
  const page = keyset(
    request,
    { created_at: { by: sql`${activities.createdAt}`, type: "timestamptz" } },
    "-created_at",
    { column: sql`${activities.id}`, type: "text" },
  );
  const own = and(eq(activities.actor, caller.uri), isNotNull(activities.body));
  const rows = await tx
    .select({ body: activities.body, key: activities.id, position: page.position })
    .from(activities)
    .where(and(own, page.after))
    .orderBy(...page.orderBy)
    .limit(page.limit);
  const [{ total } = { total: 0 }] = await tx.select({ total: count() }).from(activities).where(own);
  return { ...page.toPage(rows, (row) => row.body as JsonObject), total: Number(total) };
}
