/** Peers: the instances that the administrator approved, and those on their way there (docs/protocol.md, "Peers"). */
import { and, desc, eq, inArray, isNotNull, isNull, notInArray, sql } from "drizzle-orm";
import { Problem } from "../errors.ts";
import { mintUuid } from "../protocol/ids.ts";
import { limits } from "../protocol/limits.ts";
import type { Tx } from "../storage/database.ts";
import {
  type DeliveryError,
  deliveries,
  followRequests,
  lanes,
  type PeerPolicy,
  type PeerState,
  type PinnedKey,
  peers,
} from "../storage/schema.ts";
import { type Caller, nameCaller } from "./caller.ts";
import { administrators, recordEffects } from "./journal.ts";
import { keyset, type Page, type PageRequest } from "./paging.ts";

export type PeerRow = typeof peers.$inferSelect;

export interface Peer {
  readonly id: string;
  readonly origin: string;
  readonly state: PeerState;
  readonly name: string | null;
  readonly software: string | null;
  readonly fingerprint: string | null;
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

/** What a node learned of another one by fetching its instance actor. */
export interface PeerActor {
  readonly actorUri: string;
  readonly inbox: string;
  readonly name: string | null;
  readonly software: string | null;
  readonly keys: readonly PinnedKey[];
  readonly fingerprint: string;
  readonly receipts: boolean;
}

const defaultPolicy: PeerPolicy = { platforms: "all", activities: "all", per_minute: 60_000, per_day: 5_000_000 };

/** States in which a peer's lane may send; otherwise it is held. */
export const sendingStates: readonly PeerState[] = ["approved", "pending_out", "rejected"];

const pinOf = (actor: PeerActor) => ({
  actorUri: actor.actorUri,
  inbox: actor.inbox,
  name: actor.name,
  software: actor.software,
  keys: actor.keys,
  fingerprint: actor.fingerprint,
  receipts: actor.receipts,
});

/** The peer of an origin, whatever its state. Not scoped: signatures are judged with it before there is a caller. */
export async function findPeer(tx: Tx, origin: string): Promise<PeerRow | undefined> {
  const [row] = await tx.select().from(peers).where(eq(peers.origin, origin));
  return row;
}

/** Peers among `origins` to which activities go: approved ones, and suspended ones, whose lane is held. */
export async function findPeersOf(tx: Tx, origins: readonly string[]): Promise<readonly PeerRow[]> {
  if (origins.length === 0) return [];
  return await tx
    .select()
    .from(peers)
    .where(and(inArray(peers.origin, [...origins]), inArray(peers.state, ["approved", "suspended"])));
}

/** All peers that learn of the platforms of this node. */
export async function findApproved(tx: Tx): Promise<readonly PeerRow[]> {
  return await tx.select().from(peers).where(eq(peers.state, "approved"));
}

/** @throws {Problem} `not_found` */
export async function readPeerRow(tx: Tx, id: string): Promise<PeerRow> {
  const [row] = await tx.select().from(peers).where(eq(peers.id, id)).for("update");
  if (!row) throw new Problem("not_found");
  return row;
}

const wrongState = (row: PeerRow, verb: string) =>
  new Problem("state_conflict", `A peer that is ${row.state} cannot be ${verb}.`, { state: row.state });

async function journalPeer(tx: Tx, caller: Caller, action: string, origin: string, now: Date): Promise<void> {
  await recordEffects(tx, {
    at: now,
    actor: nameCaller(caller),
    action,
    object: origin,
    audience: [administrators],
  });
}

/**
 * This side asks: pins the actor's keys. `rememberFollow` names the Follow that is sent then.
 * @throws {Problem} `state_conflict` when the peer is approved, suspended or already asked
 */
export async function requestPeer(
  tx: Tx,
  caller: Caller,
  origin: string,
  { actor, now }: { readonly actor: PeerActor; readonly now: Date },
): Promise<PeerRow> {
  const before = await findPeer(tx, origin);
  if (before && ["approved", "suspended", "pending_out"].includes(before.state)) throw wrongState(before, "requested");
  const change = { ...pinOf(actor), state: "pending_out" as const, requestedAt: now, openedAt: now };
  const [row] = await tx
    .insert(peers)
    .values({ id: mintUuid(), origin, policy: defaultPolicy, createdAt: now, ...change })
    .onConflictDoUpdate({ target: peers.origin, set: change })
    .returning();
  await tx.delete(followRequests).where(eq(followRequests.origin, origin));
  await journalPeer(tx, caller, "peer.requested", origin, now);
  return row as PeerRow;
}

/** The Follow that the other side's Accept or Reject must name. */
export async function rememberFollow(tx: Tx, id: string, followOut: string): Promise<void> {
  await tx.update(peers).set({ followOut }).where(eq(peers.id, id));
}

/** The Follow of theirs that was accepted last: it is the one that their Undo names. */
export async function rememberFollowIn(tx: Tx, id: string, followIn: string): Promise<void> {
  await tx.update(peers).set({ followIn }).where(eq(peers.id, id));
}

export interface FollowRequest {
  readonly origin: string;
  readonly method: string;
  readonly target: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly body: Uint8Array;
  readonly address: string;
  readonly arrivedAt: Date;
}

/** Keeps a stranger's Follow as it arrived: at most the newest 3 of an origin and 100 in all. */
export async function storeFollow(tx: Tx, caller: Caller, request: FollowRequest): Promise<void> {
  const { origin, arrivedAt: now } = request;
  await tx.insert(followRequests).values({ id: mintUuid(), ...request });
  await keepNewest(tx, limits.followsPerOrigin, origin);
  await keepNewest(tx, limits.follows);
  const [row] = await tx
    .insert(peers)
    .values({ id: mintUuid(), origin, state: "pending_in", policy: defaultPolicy, createdAt: now })
    .onConflictDoUpdate({
      target: peers.origin,
      set: { state: "pending_in", openedAt: null, followIn: null },
      setWhere: inArray(peers.state, ["rejected", "revoked"]),
    })
    .returning({ id: peers.id });
  if (row) await journalPeer(tx, caller, "peer.pending", origin, now);
  await dropUnasked(tx);
}

/** Drops the oldest beyond `greatest`; of all together, what an administrator has opened is neither counted nor dropped. */
async function keepNewest(tx: Tx, greatest: number, origin?: string): Promise<void> {
  const opened = tx.select({ origin: peers.origin }).from(peers).where(isNotNull(peers.openedAt));
  const counted = origin === undefined ? notInArray(followRequests.origin, opened) : eq(followRequests.origin, origin);
  const newest = tx
    .select({ id: followRequests.id })
    .from(followRequests)
    .where(counted)
    .orderBy(desc(followRequests.arrivedAt), desc(followRequests.id))
    .limit(greatest);
  await tx.delete(followRequests).where(and(counted, notInArray(followRequests.id, newest)));
}

/** A stranger whose last Follow was dropped unopened, and with whom nothing else binds us, is forgotten. */
async function dropUnasked(tx: Tx): Promise<void> {
  const asked = tx.select({ origin: followRequests.origin }).from(followRequests);
  const sent = tx.select({ id: deliveries.peerId }).from(deliveries);
  await tx
    .delete(peers)
    .where(
      and(
        eq(peers.state, "pending_in"),
        isNull(peers.openedAt),
        notInArray(peers.origin, asked),
        notInArray(peers.id, sent),
      ),
    );
}

/** The Follows of an origin, newest first. */
export async function listFollows(tx: Tx, origin: string) {
  return await tx
    .select()
    .from(followRequests)
    .where(eq(followRequests.origin, origin))
    .orderBy(desc(followRequests.arrivedAt), desc(followRequests.id));
}

/** The administrator has opened a Follow: the actor is known now, and whether it signed (`followIn`, else null). */
export async function recordOpened(
  tx: Tx,
  caller: Caller,
  id: string,
  { actor, followIn, now }: { readonly actor: PeerActor; readonly followIn: string | null; readonly now: Date },
): Promise<void> {
  const row = await readPeerRow(tx, id);
  if (row.state !== "pending_in") throw wrongState(row, "opened");
  await tx
    .update(peers)
    .set({ ...pinOf(actor), followIn, openedAt: now })
    .where(eq(peers.id, id));
  await journalPeer(tx, caller, "peer.opened", row.origin, now);
}

/**
 * The administrator approves a Follow that was opened and found signed by the actor that was shown.
 * @throws {Problem} `state_conflict`, `fingerprint_mismatch`
 */
export async function approvePeer(
  tx: Tx,
  caller: Caller,
  id: string,
  { fingerprint, now }: { readonly fingerprint?: string | undefined; readonly now: Date },
): Promise<PeerRow> {
  const row = await readPeerRow(tx, id);
  if (row.state !== "pending_in") throw wrongState(row, "approved");
  if (row.openedAt === null) {
    throw new Problem("state_conflict", "Open the request first, and compare the fingerprint that it shows.");
  }
  if (row.followIn === null) {
    throw new Problem(
      "state_conflict",
      "No Follow of that origin was signed by the actor that it shows; ask it to follow again.",
    );
  }
  if (fingerprint !== undefined && fingerprint !== row.fingerprint) throw new Problem("fingerprint_mismatch");
  await tx.delete(followRequests).where(eq(followRequests.origin, row.origin));
  return await setApproved(tx, caller, row, { followIn: row.followIn, now });
}

/** Both sides have said yes: to our Follow came an Accept, or to our request a Follow (`followIn`). */
export async function confirmPeer(
  tx: Tx,
  caller: Caller,
  row: PeerRow,
  { followIn, now }: { readonly followIn?: string; readonly now: Date },
): Promise<PeerRow> {
  if (row.state !== "pending_out") throw wrongState(row, "accepted");
  return await setApproved(tx, caller, row, { ...(followIn === undefined ? {} : { followIn }), now });
}

async function setApproved(
  tx: Tx,
  caller: Caller,
  row: PeerRow,
  { followIn, now }: { readonly followIn?: string; readonly now: Date },
): Promise<PeerRow> {
  const change = { state: "approved" as const, approvedAt: now, ...(followIn === undefined ? {} : { followIn }) };
  await tx.update(peers).set(change).where(eq(peers.id, row.id));
  await journalPeer(tx, caller, "peer.approved", row.origin, now);
  return { ...row, ...change };
}

/** Says no, to a request of theirs or after theirs to one of ours. @throws {Problem} `state_conflict` */
export async function rejectPeer(tx: Tx, caller: Caller, row: PeerRow, now: Date): Promise<void> {
  if (row.state !== "pending_in" && row.state !== "pending_out") throw wrongState(row, "rejected");
  await tx.delete(followRequests).where(eq(followRequests.origin, row.origin));
  await tx.update(peers).set({ state: "rejected" }).where(eq(peers.id, row.id));
  await journalPeer(tx, caller, "peer.rejected", row.origin, now);
}

/** Peers are the administrators' to see; the route asks for `manage_peers`. */
export async function listPeers(
  tx: Tx,
  _caller: Caller,
  request: PageRequest & { readonly origin?: string | undefined; readonly state?: PeerState | undefined },
): Promise<Page<Peer>> {
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

/** @throws {Problem} `not_found` */
export async function getPeer(tx: Tx, _caller: Caller, id: string): Promise<Peer> {
  const [found] = await tx
    .select({ row: peers, lane: lanes })
    .from(peers)
    .leftJoin(lanes, eq(lanes.peerId, peers.id))
    .where(eq(peers.id, id));
  if (!found) throw new Problem("not_found");
  return present(found.row, found.lane, (await readDepths(tx, [id])).get(id));
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
  const rows = await tx
    .select({
      peerId: deliveries.peerId,
      queued: sql<number>`(count(*) filter (where ${queued}))::int`,
      dead: sql<number>`(count(*) filter (where ${deliveries.state} = 'dead'))::int`,
      oldestAt: sql<string | null>`min(${deliveries.createdAt}) filter (where ${queued})`,
      nextAt: sql<string | null>`min(${deliveries.nextAttemptAt}) filter (where ${queued})`,
    })
    .from(deliveries)
    .where(inArray(deliveries.peerId, [...ids]))
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
  const nextAt = backingOff && lane?.nextAttemptAt ? lane.nextAttemptAt : depth?.nextAt;
  return {
    id: row.id,
    origin: row.origin,
    state: row.state,
    name: row.name,
    software: row.software,
    fingerprint: row.fingerprint,
    signature_form: row.signatureForm,
    policy: row.policy,
    lane: {
      state: queued === 0 ? "idle" : held ? "held" : backingOff ? "backing_off" : "active",
      depth: queued,
      dead: depth?.dead ?? 0,
      oldest_at: depth?.oldestAt?.toISOString() ?? null,
      next_attempt_at: queued === 0 ? null : (nextAt?.toISOString() ?? null),
      last_error: lane?.lastError ?? null,
    },
    requested_at: row.requestedAt?.toISOString() ?? null,
    opened_at: row.openedAt?.toISOString() ?? null,
    approved_at: row.approvedAt?.toISOString() ?? null,
  };
}
