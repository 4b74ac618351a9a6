/** Peers: the instances that the administrator approved, and those on their way there (docs/protocol.md, "Peers"). */
import { and, desc, eq, inArray, isNotNull, isNull, notInArray, sql } from "drizzle-orm";

import { Problem } from "../errors.ts";
import { mintUuid } from "../protocol/ids.ts";
import { limits } from "../protocol/limits.ts";
import type { Tx } from "../storage/database.ts";
import { preparedOnce } from "../storage/prepared.ts";
import {
  type DeliveryForm,
  deliveries,
  followRequests,
  type PeerPolicy,
  type PeerState,
  type PinnedKey,
  peers,
} from "../storage/schema.ts";
import { type Caller, nameCaller } from "./caller.ts";
import { administrators, recordEffects } from "./journal.ts";
import { forgetHearsay } from "./key-bundles.ts";
import { peeredStates } from "./peer-states.ts";

export type PeerRow = typeof peers.$inferSelect;

/** What a node learned of another one by fetching its instance actor. */
export interface PeerActor {
  readonly actorUri: string;
  readonly inbox: string;
  readonly batchInbox: string | null;
  readonly name: string | null;
  readonly software: string | null;
  readonly keys: readonly PinnedKey[];
  readonly fingerprint: string;
  readonly receipts: boolean;
  readonly signatureForm: DeliveryForm;
  readonly keyChain?: unknown;
}

const defaultPolicy: PeerPolicy = { platforms: "all", activities: "all", per_minute: 60_000, per_day: 5_000_000 };

const pinOf = (actor: PeerActor) => ({
  actorUri: actor.actorUri,
  inbox: actor.inbox,
  batchInbox: actor.batchInbox,
  name: actor.name,
  software: actor.software,
  keys: actor.keys,
  fingerprint: actor.fingerprint,
  receipts: actor.receipts,
  signatureForm: actor.signatureForm,
  // The administrator compares the fingerprint: with it the whole chain so far is taken as it is.
  keyChainSeq: chainLength(actor),
  held: null,
});

/** How many rotations led to an actor's keys. */
export function chainLength({ keyChain }: PeerActor): number {
  return Array.isArray(keyChain) ? keyChain.length : 0;
}

/** The peer of an origin, whatever its state. Not scoped: signatures are judged with it before there is a caller. */
export async function findPeer(tx: Tx, origin: string): Promise<PeerRow | undefined> {
  const [row] = await tx.select().from(peers).where(eq(peers.origin, origin));
  return row;
}

/** The peers of several origins, like `findPeer`. */
export async function findPeersByOrigin(tx: Tx, origins: readonly string[]): Promise<readonly PeerRow[]> {
  return await preparePeersByOrigin(tx).execute({ origins });
}

const preparePeersByOrigin = preparedOnce((tx: Tx) =>
  tx
    .select()
    .from(peers)
    .where(sql`${peers.origin} = any(${sql.placeholder("origins")}::text[])`)
    .prepare("find_peers_by_origin"),
);

/** Peers among `origins` to which activities go: approved ones, and suspended ones, whose lane is held. */
export async function findPeersOf(tx: Tx, origins: readonly string[]): Promise<readonly PeerRow[]> {
  if (origins.length === 0) return [];
  return await tx
    .select()
    .from(peers)
    .where(and(inArray(peers.origin, [...origins]), inArray(peers.state, [...peeredStates])));
}

/** All peers that learn of the platforms of this node; a suspended one does when it is resumed. */
export async function findListeners(tx: Tx): Promise<readonly PeerRow[]> {
  return await tx
    .select()
    .from(peers)
    .where(inArray(peers.state, [...peeredStates]));
}

/** @throws {Problem} `not_found` */
export async function readPeerRow(tx: Tx, id: string): Promise<PeerRow> {
  const [row] = await tx.select().from(peers).where(eq(peers.id, id)).for("update");
  if (!row) throw new Problem("not_found");
  return row;
}

function wrongState({ origin, state }: PeerRow, verb: string): Problem {
  const isDone = state === verb || (state === "approved" && verb === "requested");
  const detail = isDone
    ? `${origin} is ${state} already: there is nothing to do.`
    : `${origin} is ${state} and cannot be ${verb}.`;
  return new Problem("state_conflict", detail, { state });
}

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
  if (before && [...peeredStates, "pending_out"].includes(before.state)) throw wrongState(before, "requested");
  // The Follow of a peering that ended names nothing any more; one that waits to be approved does.
  const ended = before?.state === "pending_in" ? {} : { followIn: null };
  const change = { ...pinOf(actor), ...ended, state: "pending_out" as const, requestedAt: now, openedAt: now };
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
  readonly invitationHash: string | null;
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
      set: { state: "pending_in", openedAt: null, followIn: null, followOut: null },
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
 * Both are shown, for the administrators to compare: neither is secret.
 * @throws {Problem} `fingerprint_mismatch` where one is `offered` and it is not the one that is `known`
 */
export function refuseOtherFingerprint(known: string | null, offered: string | undefined): void {
  if (offered === undefined || offered === known) return;
  throw new Problem(
    "fingerprint_mismatch",
    "The fingerprint is not that of the instance: do not go on before you know why.",
    {
      known_fingerprint: known,
      offered_fingerprint: offered,
    },
  );
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
  refuseOtherFingerprint(row.fingerprint, fingerprint);
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
  await forgetHearsay(tx, row.origin);
  await journalPeer(tx, caller, "peer.approved", row.origin, now);
  return { ...row, ...change };
}

/** Refuses a peer inward and holds its lane outward, for now and on this side alone. @throws {Problem} `state_conflict` */
export async function suspendPeer(tx: Tx, caller: Caller, id: string, now: Date): Promise<PeerRow> {
  return await changeState(tx, caller, await readPeerRow(tx, id), { from: ["approved"], to: "suspended", now });
}

/** Ends a suspension, but not one that the peer's keys caused. @throws {Problem} `state_conflict` */
export async function resumePeer(tx: Tx, caller: Caller, id: string, now: Date): Promise<PeerRow> {
  const row = await readPeerRow(tx, id);
  if (row.held !== null) {
    throw new Problem("state_conflict", "Nothing vouches for its new keys: compare the fingerprint and approve it.", {
      state: row.state,
      held: row.held,
    });
  }
  return await changeState(tx, caller, row, { from: ["suspended"], to: "approved", verb: "resumed", now });
}

/** Ends the peering, by this side or by the other. @throws {Problem} `state_conflict` */
export async function revokePeer(tx: Tx, caller: Caller, row: PeerRow, now: Date): Promise<PeerRow> {
  await tx.delete(followRequests).where(eq(followRequests.origin, row.origin));
  return await changeState(tx, caller, row, { from: [...peeredStates, "pending_out"], to: "revoked", now });
}

async function changeState(
  tx: Tx,
  caller: Caller,
  row: PeerRow,
  move: { readonly from: readonly PeerState[]; readonly to: PeerState; readonly verb?: string; readonly now: Date },
): Promise<PeerRow> {
  const verb = move.verb ?? move.to;
  if (!move.from.includes(row.state)) throw wrongState(row, verb);
  await tx.update(peers).set({ state: move.to }).where(eq(peers.id, row.id));
  await journalPeer(tx, caller, `peer.${verb}`, row.origin, move.now);
  return { ...row, state: move.to };
}

/** Which platforms a peer learns of, what it may send, how much; members that are absent stay. @throws {Problem} `not_found` */
export async function changePolicy(
  tx: Tx,
  caller: Caller,
  id: string,
  change: Partial<PeerPolicy>,
  now: Date,
): Promise<PeerRow> {
  const row = await readPeerRow(tx, id);
  const policy = { ...row.policy, ...change };
  await tx.update(peers).set({ policy }).where(eq(peers.id, id));
  await journalPeer(tx, caller, "peer.policy_changed", row.origin, now);
  return { ...row, policy };
}

/** Says no, to a request of theirs or after theirs to one of ours. @throws {Problem} `state_conflict` */
export async function rejectPeer(tx: Tx, caller: Caller, row: PeerRow, now: Date): Promise<void> {
  if (row.state !== "pending_in" && row.state !== "pending_out") throw wrongState(row, "rejected");
  await tx.delete(followRequests).where(eq(followRequests.origin, row.origin));
  await tx.update(peers).set({ state: "rejected" }).where(eq(peers.id, row.id));
  await journalPeer(tx, caller, "peer.rejected", row.origin, now);
}
