/** Peers as the administrator sees them, each with the state of the lane to it. */
import { and, eq, inArray, or, sql } from "drizzle-orm";
import { Problem } from "../errors.ts";
import type { Tx } from "../storage/database.ts";
import { type DeliveryError, deliveries, lanes, type PeerPolicy, type PeerState, peers } from "../storage/schema.ts";
import { type Caller, requirePermission } from "./caller.ts";
import { nextAttemptAt } from "./next-attempts.ts";
import { keyset, type Page, type PageRequest } from "./paging.ts";
import { peeredStates, sendingStates } from "./peer-states.ts";
import { type PeerRow, readPeerRow } from "./peers.ts";

export interface Peer {
  readonly id: string;
  readonly origin: string;
  readonly state: PeerState;
  readonly name: string | null;
  readonly software: string | null;
  readonly fingerprint: string | null;
  /** Why its new keys count only once an administrator approves them. */
  readonly held: string | null;
  readonly signature_form: string | null;
  readonly policy: PeerPolicy;
  readonly lane: {
    readonly state: "idle" | "active" | "backing_off" | "held";
    readonly depth: number;
    readonly dead: number;
    readonly oldest_at: string | null;
    readonly next_attempt_at: string | null;
    readonly last_error: DeliveryError | null;
  };
  readonly requested_at: string | null;
  readonly opened_at: string | null;
  readonly approved_at: string | null;
}

/** Peers are the administrators' to see. @throws {Problem} `right_missing` */
export async function listPeers(
  tx: Tx,
  caller: Caller,
  request: PageRequest & { readonly origin?: string | undefined; readonly state?: PeerState | undefined },
): Promise<Page<Peer>> {
  requirePermission(caller, "manage_peers");
  const page = keyset(request, { created_at: { by: sql`${peers.createdAt}`, type: "timestamptz" } }, "created_at", {
    column: sql`${peers.id}`,
    type: "uuid",
  });
  const rows = await tx
    .select({ row: peers, lane: lanes, key: peers.id, position: page.position })
    .from(peers)
    .leftJoin(lanes, eq(lanes.peerId, peers.id))
    .where(
      and(
        page.after,
        request.origin === undefined ? undefined : eq(peers.origin, request.origin),
        request.state === undefined ? undefined : eq(peers.state, request.state),
      ),
    )
    .orderBy(...page.orderBy)
    .limit(page.limit);
  const depths = await readDepths(
    tx,
    rows.map(({ row }) => row.id),
  );
  return page.toPage(rows, ({ row, lane }) => present(row, lane, depths.get(row.id)));
}

/** @throws {Problem} `right_missing`, `not_found` */
export async function getPeer(tx: Tx, caller: Caller, id: string): Promise<Peer> {
  requirePermission(caller, "manage_peers");
  const [found] = await tx
    .select({ row: peers, lane: lanes })
    .from(peers)
    .leftJoin(lanes, eq(lanes.peerId, peers.id))
    .where(eq(peers.id, id));
  if (!found) throw new Problem("not_found");
  return present(found.row, found.lane, (await readDepths(tx, [id])).get(id));
}

/** The peer as it stays until the transaction ends, but for its lane. @throws {Problem} `right_missing`, `not_found` */
export async function lockPeer(tx: Tx, caller: Caller, id: string): Promise<Peer> {
  await readPeerRow(tx, id);
  return await getPeer(tx, caller, id);
}

/** Whom an administrator of this node has dealt with: strangers ask as often as they like. */
const knownStates: readonly PeerState[] = ["pending_out", ...peeredStates];

/** The lane to each known peer. @throws {Problem} `right_missing` */
export async function listLanes(tx: Tx, caller: Caller): Promise<readonly Pick<Peer, "origin" | "lane">[]> {
  requirePermission(caller, "manage_peers");
  const rows = await tx
    .select({ row: peers, lane: lanes })
    .from(peers)
    .leftJoin(lanes, eq(lanes.peerId, peers.id))
    .where(inArray(peers.state, [...knownStates]));
  const depths = await readDepths(
    tx,
    rows.map(({ row }) => row.id),
  );
  return rows.map(({ row, lane }) => present(row, lane, depths.get(row.id)));
}

interface Depth {
  readonly queued: number;
  readonly dead: number;
  readonly oldestAt: Date | null;
  readonly nextAt: Date | null;
}

async function readDepths(tx: Tx, ids: readonly string[]): Promise<ReadonlyMap<string, Depth>> {
  if (ids.length === 0) return new Map();
  const queued = sql`${deliveries.state} = 'queued'`;
  const dead = sql`${deliveries.state} = 'dead'`;
  const rows = await tx
    .select({
      peerId: deliveries.peerId,
      queued: sql<number>`(count(*) filter (where ${queued}))::int`,
      dead: sql<number>`(count(*) filter (where ${dead}))::int`,
      oldestAt: sql<string | null>`min(${deliveries.createdAt}) filter (where ${queued})`,
      nextAt: sql<string | null>`min(${nextAttemptAt()}) filter (where ${queued})`,
    })
    .from(deliveries)
    .leftJoin(lanes, eq(lanes.peerId, deliveries.peerId))
    // Each has its index: what was delivered is not looked at, however much it is.
    .where(and(inArray(deliveries.peerId, [...ids]), or(queued, dead)))
    .groupBy(deliveries.peerId);
  const instant = (value: string | null) => (value === null ? null : new Date(value));
  return new Map(
    rows.map((row) => [row.peerId, { ...row, oldestAt: instant(row.oldestAt), nextAt: instant(row.nextAt) }]),
  );
}

function present(row: PeerRow, lane: typeof lanes.$inferSelect | null, depth: Depth | undefined): Peer {
  const queued = depth?.queued ?? 0;
  const held = !sendingStates.includes(row.state);
  const backingOff = (lane?.failures ?? 0) > 0;
  return {
    id: row.id,
    origin: row.origin,
    state: row.state,
    name: row.name,
    software: row.software,
    fingerprint: row.fingerprint,
    held: row.held,
    signature_form: row.signatureForm,
    policy: row.policy,
    lane: {
      state: queued === 0 ? "idle" : held ? "held" : backingOff ? "backing_off" : "active",
      depth: queued,
      dead: depth?.dead ?? 0,
      oldest_at: depth?.oldestAt?.toISOString() ?? null,
      next_attempt_at: held ? null : (depth?.nextAt?.toISOString() ?? null),
      last_error: lane?.lastError ?? null,
    },
    requested_at: row.requestedAt?.toISOString() ?? null,
    opened_at: row.openedAt?.toISOString() ?? null,
    approved_at: row.approvedAt?.toISOString() ?? null,
  };
}
