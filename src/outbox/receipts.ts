/** What peers signed for what this node sent. */
import { and, eq, sql } from "drizzle-orm";
import type { Caller } from "../registry/caller.ts";
import { keyset, type Page, type PageRequest } from "../registry/paging.ts";
import type { Tx } from "../storage/database.ts";
import { activities, deliveries, objects, peers } from "../storage/schema.ts";
import { sentBy } from "./deliveries.ts";

export interface Receipt {
  readonly id: string;
  readonly activity: string;
  readonly direction: "in" | "out";
  readonly peer: string;
  /** What the activity was about: a project, or a platform. Null for what is between the nodes. */
  readonly object: string | null;
  /** Of the project, for the platform that sent it. */
  readonly code: string | null;
  readonly effect: string;
  readonly received_at: string;
  readonly jws: string;
}

export type ReceiptRequest = PageRequest & { readonly activity?: string | undefined };

/** Receipts of direction `in`; a platform sees those of what it sent itself. */
export async function listPeersReceipts(tx: Tx, caller: Caller, request: ReceiptRequest): Promise<Page<Receipt>> {
  const page = keyset(request, { created_at: { by: sql`${deliveries.seq}`, type: "bigint" } }, "-created_at", {
    column: sql`${deliveries.id}`,
    type: "uuid",
  });
  const rows = await tx
    .select({
      row: deliveries,
      peer: peers.origin,
      object: activities.objectUri,
      code: objects.code,
      key: deliveries.id,
      position: page.position,
    })
    .from(deliveries)
    .innerJoin(activities, eq(activities.id, deliveries.activityId))
    .innerJoin(peers, eq(peers.id, deliveries.peerId))
    .leftJoin(objects, eq(objects.uri, activities.objectUri))
    .where(
      and(
        page.after,
        sql`${deliveries.receipt} is not null`,
        sentBy(caller),
        request.activity === undefined ? undefined : eq(deliveries.activityId, request.activity),
      ),
    )
    .orderBy(...page.orderBy)
    .limit(page.limit);
  return page.toPage(rows, ({ row, peer, object, code }) => ({
    id: row.id,
    activity: row.activityId,
    direction: "in",
    peer,
    object,
    code: caller.kind === "platform" ? code : null,
    effect: row.effect ?? "",
    received_at: (row.deliveredAt ?? row.createdAt).toISOString(),
    jws: row.receipt ?? "",
  }));
}
