/** The administrator's view of deliveries, and what can be done about dead ones. */
import { and, eq, inArray, notInArray, type SQL, sql } from "drizzle-orm";
import { Problem } from "../errors.ts";
import type { JsonObject } from "../protocol/objects.ts";
import { type Caller, nameCaller } from "../registry/caller.ts";
import { recordEffects } from "../registry/journal.ts";
import { nextAttemptAt } from "../registry/next-attempts.ts";
import { keyset, type Page, type PageRequest } from "../registry/paging.ts";
import { sendingStates } from "../registry/peer-states.ts";
import { readForPeer } from "../registry/project-views.ts";
import type { Tx } from "../storage/database.ts";
import { activities, type DeliveryError, type DeliveryState, deliveries, lanes, peers } from "../storage/schema.ts";

/** `held`: what is queued for a peer whose lane may not send, such as a suspended one. */
export type ShownState = DeliveryState | "held";

export interface Delivery {
  readonly id: string;
  readonly peer: string;
  readonly activity: string;
  readonly type: string;
  readonly state: ShownState;
  readonly attempts: number;
  /** Null also while it is held: nobody knows. */
  readonly next_attempt_at: string | null;
  readonly last_error: DeliveryError | null;
  readonly receipt: boolean;
  readonly created_at: string;
  readonly delivered_at: string | null;
}

type Row = {
  readonly row: typeof deliveries.$inferSelect;
  readonly type: string;
  readonly peer: typeof peers.$inferSelect;
  readonly nextAt: Date;
};

function present({ row, type, peer, nextAt }: Row): Delivery {
  const state = row.state === "queued" && !sendingStates.includes(peer.state) ? "held" : row.state;
  return {
    id: row.id,
    peer: peer.origin,
    activity: row.activityId,
    type,
    state,
    attempts: row.attempts,
    next_attempt_at: state === "queued" ? nextAt.toISOString() : null,
    last_error: row.lastError,
    receipt: row.receipt !== null,
    created_at: row.createdAt.toISOString(),
    delivered_at: row.deliveredAt?.toISOString() ?? null,
  };
}

const selection = {
  row: deliveries,
  type: activities.type,
  peer: peers,
  nextAt: nextAttemptAt().mapWith(deliveries.nextAttemptAt),
};

/** Those that are shown in this state. */
function shownAs(state: ShownState): SQL | undefined {
  if (state === "held") return and(eq(deliveries.state, "queued"), notInArray(peers.state, [...sendingStates]));
  return and(eq(deliveries.state, state), state === "queued" ? inArray(peers.state, [...sendingStates]) : undefined);
}

/** A platform sees what became of what it sent itself; administrators and the node see all. */
export const sentBy = (caller: Caller) => (caller.kind === "platform" ? eq(activities.actor, caller.uri) : undefined);

export async function listDeliveries(
  tx: Tx,
  caller: Caller,
  request: PageRequest & {
    readonly peer?: string | undefined;
    readonly activity?: string | undefined;
    readonly state?: ShownState | undefined;
  },
): Promise<Page<Delivery>> {
  const page = keyset(request, { created_at: { by: sql`${deliveries.seq}`, type: "bigint" } }, "-created_at", {
    column: sql`${deliveries.id}`,
    type: "uuid",
  });
  const rows = await tx
    .select({ ...selection, key: deliveries.id, position: page.position })
    .from(deliveries)
    .innerJoin(activities, eq(activities.id, deliveries.activityId))
    .innerJoin(peers, eq(peers.id, deliveries.peerId))
    .leftJoin(lanes, eq(lanes.peerId, deliveries.peerId))
    .where(
      and(
        page.after,
        sentBy(caller),
        request.peer === undefined ? undefined : eq(peers.origin, request.peer),
        request.activity === undefined ? undefined : eq(deliveries.activityId, request.activity),
        request.state === undefined ? undefined : shownAs(request.state),
      ),
    )
    .orderBy(...page.orderBy)
    .limit(page.limit);
  return page.toPage(rows, present);
}

/** @throws {Problem} `not_found` */
export async function getDelivery(tx: Tx, caller: Caller, id: string): Promise<Delivery> {
  const [found] = await tx
    .select(selection)
    .from(deliveries)
    .innerJoin(activities, eq(activities.id, deliveries.activityId))
    .innerJoin(peers, eq(peers.id, deliveries.peerId))
    .leftJoin(lanes, eq(lanes.peerId, deliveries.peerId))
    .where(and(eq(deliveries.id, id), sentBy(caller)));
  if (!found) throw new Problem("not_found");
  return present(found);
}

/**
 * Makes a delivery due now: a dead one again, a waiting one at once, one for a peer whose lane is held when that is let go.
 * @throws {Problem} `not_found`, `state_conflict`
 */
export async function retryDelivery(
  tx: Tx,
  caller: Caller,
  id: string,
  now: Date,
): Promise<{ readonly delivery: Delivery; readonly lane: string }> {
  const peerId = await moveDelivery(tx, caller, id, { from: ["dead", "queued"], to: "queued", verb: "retried", now });
  await tx.update(lanes).set({ failures: 0, nextAttemptAt: null }).where(eq(lanes.peerId, peerId));
  return { delivery: await getDelivery(tx, caller, id), lane: peerId };
}

/** Gives a delivery up; its activity is never sent there. @throws {Problem} `not_found`, `state_conflict` */
export async function discardDelivery(tx: Tx, caller: Caller, id: string, now: Date): Promise<Delivery> {
  await moveDelivery(tx, caller, id, { from: ["dead", "queued"], to: "discarded", verb: "discarded", now });
  return await getDelivery(tx, caller, id);
}

async function moveDelivery(
  tx: Tx,
  caller: Caller,
  id: string,
  move: {
    readonly from: readonly DeliveryState[];
    readonly to: DeliveryState;
    readonly verb: string;
    readonly now: Date;
  },
): Promise<string> {
  const before = await getDelivery(tx, caller, id);
  const [row] = await tx
    .update(deliveries)
    .set({ state: move.to, nextAttemptAt: move.now })
    .where(and(eq(deliveries.id, id), inArray(deliveries.state, [...move.from])))
    .returning();
  if (!row) {
    throw new Problem("state_conflict", `A delivery that is ${before.state} cannot be ${move.verb}.`, {
      state: before.state,
    });
  }
  await recordEffects(tx, {
    at: move.now,
    actor: nameCaller(caller),
    action: `delivery.${move.verb}`,
    object: row.activityId,
    data: { peer: before.peer },
  });
  return row.peerId;
}

/** An activity that went to platforms of the peer, about an object that they may read now; null otherwise, or when its body is gone. */
export async function readActivityBody(tx: Tx, peerOrigin: string, id: string, now: Date): Promise<JsonObject | null> {
  const [row] = await tx.select().from(activities).where(eq(activities.id, id));
  if (!row?.objectUri || !row.body || !(await readForPeer(tx, peerOrigin, row.objectUri, now))) return null;
  // Who joined later does not read what was said before.
  const isAddressed = [row.body.to].flat().some((uri) => typeof uri === "string" && uri.startsWith(`${peerOrigin}/`));
  return isAddressed ? row.body : null;
}
