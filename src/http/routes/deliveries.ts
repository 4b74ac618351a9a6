/** Deliveries, receipts and the audit: what left, what proves it, and what happened. */
import { z } from "zod";
import { listOwnReceipts } from "../../inbox/receipts.ts";
import { discardDelivery, getDelivery, listDeliveries, retryDelivery } from "../../outbox/deliveries.ts";
import { listPeersReceipts } from "../../outbox/receipts.ts";
import { listAudit, verifyJournal } from "../../registry/journal.ts";
import type { HttpDependencies } from "../dependencies.ts";
import { defineRoute, idParams, listOf, pageQuery, type Route } from "../route.ts";
import { auditEntrySchema, deliverySchema, receiptSchema } from "../shapes.ts";

export function deliveryRoutes(dependencies: HttpDependencies): readonly Route[] {
  const { database } = dependencies;
  const access = { administrator: "manage_deliveries" } as const;
  return [
    defineRoute({
      method: "get",
      path: "/deliveries",
      summary: "Deliveries, newest first",
      access,
      query: pageQuery.extend({
        peer: z.string().max(2048).optional(),
        activity: z.string().max(2048).optional(),
        state: z.enum(["queued", "held", "delivered", "dead", "discarded", "cancelled"]).optional(),
      }),
      answer: { status: 200, schema: listOf(deliverySchema) },
      handle: async ({ caller, query }) => ({ status: 200, body: await listDeliveries(database.db, caller, query) }),
    }),
    defineRoute({
      method: "get",
      path: "/deliveries/:id",
      summary: "One delivery",
      access,
      params: idParams,
      answer: { status: 200, schema: deliverySchema },
      handle: async ({ caller, params }) => ({ status: 200, body: await getDelivery(database.db, caller, params.id) }),
    }),
    defineRoute({
      method: "post",
      path: "/deliveries/:id/retry",
      summary: "Try a dead or waiting delivery now; one for a suspended peer is `held` until that is resumed",
      access,
      params: idParams,
      body: z.strictObject({}),
      answer: { status: 200, schema: deliverySchema },
      handle: async ({ caller, params, commit }) => ({
        status: 200,
        body: await commit(async (tx, { now }) => {
          const { delivery, lane } = await retryDelivery(tx, caller, params.id, now);
          return { value: delivery, lanes: [lane] };
        }),
      }),
    }),
    defineRoute({
      method: "post",
      path: "/deliveries/:id/discard",
      summary: "Give a dead or waiting delivery up",
      access,
      params: idParams,
      body: z.strictObject({}),
      answer: { status: 200, schema: deliverySchema },
      handle: async ({ caller, params, commit }) => ({
        status: 200,
        body: await commit(async (tx, { now }) => ({
          value: await discardDelivery(tx, caller, params.id, now),
          lanes: [],
        })),
      }),
    }),
    defineRoute({
      method: "get",
      path: "/receipts",
      summary:
        "Receipts: `in` for what was sent from here, `out` for what was accepted here; of a platform, for what it sent, or what was addressed to it",
      access: { administrator: "manage_deliveries", platform: "any" },
      query: pageQuery.extend({
        direction: z.enum(["in", "out"]).default("in"),
        activity: z.string().max(2048).optional(),
      }),
      answer: { status: 200, schema: listOf(receiptSchema) },
      handle: async ({ caller, query }) => {
        const list = query.direction === "in" ? listPeersReceipts : listOwnReceipts;
        return { status: 200, body: await list(database.db, caller, query) };
      },
    }),
    defineRoute({
      method: "get",
      path: "/audit",
      summary: "The audit, newest first",
      access: { administrator: "read_audit" },
      query: z.strictObject({
        limit: z.coerce.number().int().min(1).max(200).default(50),
        cursor: z.coerce.number().int().min(1).optional(),
      }),
      answer: { status: 200, schema: listOf(auditEntrySchema) },
      handle: async ({ caller, query }) => {
        const items = await listAudit(database, caller, { limit: query.limit, before: query.cursor });
        const last = items.length === query.limit ? items.at(-1) : undefined;
        return { status: 200, body: { items, next_cursor: last && last.seq > 1 ? String(last.seq) : null } };
      },
    }),
    defineRoute({
      method: "get",
      path: "/audit/verification",
      summary: "Recompute the journal's chain from its first row",
      access: { administrator: "read_audit" },
      answer: {
        status: 200,
        schema: z.object({
          verified: z.boolean(),
          entries: z.number().optional(),
          erased: z.number().optional(),
          head: z.string().optional(),
          seq: z.number().optional(),
          reason: z.string().optional(),
        }),
      },
      handle: async ({ caller }) => ({ status: 200, body: await verifyJournal(database, caller) }),
    }),
  ];
}
