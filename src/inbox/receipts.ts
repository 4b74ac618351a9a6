/** What this node signed for what it accepted. */
import { and, arrayContains, eq, sql } from "drizzle-orm";
import type { Receipt, ReceiptRequest } from "../outbox/receipts.ts";
import type { Caller } from "../registry/caller.ts";
import { keyset, type Page } from "../registry/paging.ts";
import type { Tx } from "../storage/database.ts";
import { receivedActivities } from "../storage/schema.ts";

/** Receipts of direction `out`; a platform sees those of what was addressed to it. */
export async function listOwnReceipts(tx: Tx, caller: Caller, request: ReceiptRequest): Promise<Page<Receipt>> {
  const page = keyset(
    request,
    { created_at: { by: sql`${receivedActivities.receivedAt}`, type: "timestamptz" } },
    "-created_at",
    { column: sql`${receivedActivities.id}`, type: "text" },
  );
  const rows = await tx
    .select({ row: receivedActivities, key: receivedActivities.id, position: page.position })
    .from(receivedActivities)
    .where(
      and(
        page.after,
        caller.kind === "platform" ? arrayContains(receivedActivities.recipients, [caller.uri]) : undefined,
        request.activity === undefined ? undefined : eq(receivedActivities.id, request.activity),
      ),
    )
    .orderBy(...page.orderBy)
    .limit(page.limit);
  return page.toPage(rows, ({ row }) => ({
    id: row.id,
    activity: row.id,
    direction: "out",
    peer: row.origin,
    object: row.objectUri,
    code: null,
    effect: row.effect,
    received_at: row.receivedAt.toISOString(),
    jws: row.receipt,
  }));
}
