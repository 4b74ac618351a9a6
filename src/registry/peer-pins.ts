/** New keys of a peer: pinned when its old ones vouch for them, held for an administrator when nothing does. */
import { eq } from "drizzle-orm";
import type { Tx } from "../storage/database.ts";
import { type PinnedKey, peers } from "../storage/schema.ts";
import { type Caller, nameCaller, system } from "./caller.ts";
import { administrators, recordEffects } from "./journal.ts";
import { type PeerActor, type PeerRow, readPeerRow } from "./peers.ts";

/** Looks for new keys of a peer; gives the row as it is now. */
export type RefreshPeerKeys = (peer: PeerRow) => Promise<PeerRow>;

/** How long keys go on after they were rotated away, milliseconds. */
const overlap = 24 * 3_600_000;

/** Pins the keys that a peer rotated to, for which the pinned ones vouch; those end a day later. */
export async function pinRotatedKeys(
  tx: Tx,
  { id }: PeerRow,
  { actor, seq, now }: { readonly actor: PeerActor; readonly seq: number; readonly now: Date },
): Promise<PeerRow> {
  const peer = await readPeerRow(tx, id);
  // Another process may have been faster: its pins stand.
  if (peer.state === "suspended" || seq < peer.keyChainSeq) return peer;
  const until = new Date(now.getTime() + overlap).toISOString();
  const ending = endingKeys(peer.keys ?? [], actor.keys).map((key) => ({ ...key, until: key.until ?? until }));
  return await changePins(tx, system, peer, { actor, keys: [...actor.keys, ...ending], seq, now });
}

/** Pins keys that nothing but an administrator vouches for: those before count no more, but for receipts of theirs. */
export async function pinApprovedKeys(
  tx: Tx,
  caller: Caller,
  peer: PeerRow,
  { actor, seq, now }: { readonly actor: PeerActor; readonly seq: number; readonly now: Date },
): Promise<PeerRow> {
  const ended = endingKeys(peer.keys ?? [], actor.keys).map((key) => ({ ...key, until: now.toISOString() }));
  return await changePins(tx, caller, peer, { actor, keys: [...actor.keys, ...ended], seq, now });
}

/** Pinned keys that the actor no longer has. One of the same name is replaced. */
function endingKeys(pinned: readonly PinnedKey[], fresh: readonly PinnedKey[]): readonly PinnedKey[] {
  const names = new Set(fresh.map((key) => key.id));
  return pinned.filter((key) => !names.has(key.id));
}

async function changePins(
  tx: Tx,
  caller: Caller,
  peer: PeerRow,
  pins: {
    readonly actor: PeerActor;
    readonly keys: readonly PinnedKey[];
    readonly seq: number;
    readonly now: Date;
  },
): Promise<PeerRow> {
  const { actor, keys, seq, now } = pins;
  const { fingerprint, inbox, batchInbox, receipts } = actor;
  const change = { keys, fingerprint, inbox, batchInbox, receipts, keyChainSeq: seq, held: null };
  await tx.update(peers).set(change).where(eq(peers.id, peer.id));
  await journalKeys(tx, nameCaller(caller), peer, { fingerprint }, now);
  return { ...peer, ...change };
}

/** Holds a peer whose new keys nothing vouches for, until an administrator has approved them. */
export async function holdPeer(tx: Tx, { id }: PeerRow, reason: string, now: Date): Promise<PeerRow> {
  const peer = await readPeerRow(tx, id);
  if (peer.state !== "approved") return peer;
  const change = { state: "suspended" as const, held: reason };
  await tx.update(peers).set(change).where(eq(peers.id, id));
  await journalKeys(tx, nameCaller(system), peer, { held: reason }, now);
  return { ...peer, ...change };
}

async function journalKeys(tx: Tx, actor: string, { origin }: PeerRow, data: object, now: Date): Promise<void> {
  const entry = { at: now, actor, action: "peer.keys_changed", object: origin, data: { ...data } };
  await recordEffects(tx, { ...entry, audience: [administrators] });
}
