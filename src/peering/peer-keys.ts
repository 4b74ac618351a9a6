/** Which keys a node trusts of another one, and when that changes: its actor is fetched, its key chain judged (docs/protocol.md, "Peers"). */
import { isDeepStrictEqual } from "node:util";
import { judgeNodeKeyChain, pinNodeKeys } from "../crypto/node-key-chain.ts";
import { Problem } from "../errors.ts";
import type { GuardedFetch } from "../identity/guarded-fetch.ts";
import { fetchInstanceActor, type RemoteActor } from "../identity/remote-actors.ts";
import { holdPeer, pinRotatedKeys, type RefreshPeerKeys } from "../registry/peer-pins.ts";
import { findPeer, type PeerRow } from "../registry/peers.ts";
import type { Database } from "../storage/database.ts";
import type { KeyValue } from "../storage/key-value.ts";
import type { PinnedKey } from "../storage/schema.ts";

export interface PeerKeyDependencies {
  readonly database: Database;
  readonly fetcher: GuardedFetch;
  readonly keyValue: KeyValue;
  readonly clock: () => Date;
}

const refetchesPerMinute = 5;

/** One refetch at a time for a peer, and few in a minute: an unknown keyid costs whoever sends it nothing. */
export function createPeerKeyRefresh(dependencies: PeerKeyDependencies): RefreshPeerKeys {
  const running = new Map<string, Promise<PeerRow>>();
  return async (peer) => {
    const current = running.get(peer.id);
    if (current !== undefined) return await current;
    const refetch = refreshKeys(dependencies, peer).finally(() => running.delete(peer.id));
    running.set(peer.id, refetch);
    return await refetch;
  };
}

async function refreshKeys(
  { database, fetcher, keyValue, clock }: PeerKeyDependencies,
  peer: PeerRow,
): Promise<PeerRow> {
  const current = await findPeer(database.db, peer.origin);
  // Whoever asked a moment before us has found them.
  if (current && !isDeepStrictEqual(current.keys, peer.keys)) return current;
  if ((await keyValue.increment(`refetch:${peer.id}`, 60_000)) > refetchesPerMinute) return peer;
  const actor = await fetchOrNull(fetcher, peer.origin);
  const pinned = keysOf(peer.keys ?? []);
  const offered = actor && keysOf(actor.keys);
  // A server without an Ed25519 key has no chain: its keys change by new approval alone.
  if (!actor || !offered || !pinned) return peer;
  const now = clock();
  const verdict = await judgeNodeKeyChain({
    pin: { ...pinned, seq: peer.keyChainSeq },
    chain: actor.keyChain,
    document: offered,
    origin: peer.origin,
    now: Math.floor(now.getTime() / 1000),
  });
  if (!verdict.accepted) {
    return await database.transaction((tx) => holdPeer(tx, peer, verdict.reason, now));
  }
  if (verdict.links.length === 0) return peer;
  return await database.transaction((tx) => pinRotatedKeys(tx, peer, { actor, seq: verdict.pin.seq, now }));
}

/**
 * The instance actor of an origin, to be pinned because an administrator compares its fingerprint: a chain that it
 * carries must end in its keys.
 * @throws {Problem} `actor_unreachable`, `actor_refused`, `weak_key`
 */
export async function fetchActorToPin(fetcher: GuardedFetch, origin: string): Promise<RemoteActor> {
  const actor = await fetchInstanceActor(fetcher, origin);
  const document = keysOf(actor.keys);
  if (document === null) return actor;
  const verdict = await pinNodeKeys({ chain: actor.keyChain, document, origin });
  if (verdict.accepted) return actor;
  if (verdict.reason === "weak_key") throw new Problem("weak_key");
  throw new Problem(
    "actor_refused",
    `The remote instance's actor is refused: its key chain does not hold (${verdict.reason}).`,
  );
}

async function fetchOrNull(fetcher: GuardedFetch, origin: string): Promise<RemoteActor | null> {
  try {
    return await fetchInstanceActor(fetcher, origin);
  } catch (error) {
    if (error instanceof Problem) return null;
    throw error;
  }
}

/** The keys that are in use: those which no rotation has ended. */
function keysOf(keys: readonly PinnedKey[]): { readonly publicKeyPem: string; readonly ed25519: string } | null {
  const current = keys.filter((key) => key.until === undefined);
  const publicKeyPem = current.find((key) => key.publicKeyPem !== undefined)?.publicKeyPem;
  const ed25519 = current.find((key) => key.publicKeyMultibase !== undefined)?.publicKeyMultibase;
  return publicKeyPem === undefined || ed25519 === undefined ? null : { publicKeyPem, ed25519 };
}
