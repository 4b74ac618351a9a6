/** Peers as they are now: requests that ask at the same time share a statement, never an older answer. */
import { makeLanesDue } from "../outbox/lanes.ts";
import { findPeersByOrigin, type PeerRow } from "../registry/peers.ts";
import type { Database } from "../storage/database.ts";
import { createGathering } from "./gather.ts";

/** The peer of an origin, whatever its state. */
export type ReadPeer = (origin: string) => Promise<PeerRow | undefined>;

export function createPeerReader({ db }: Database): ReadPeer {
  return createGathering<string, PeerRow | undefined>({
    async run(origins) {
      const found = await findPeersByOrigin(db, [...new Set(origins)]);
      const peers = new Map(found.map((peer) => [peer.origin, peer]));
      return origins.map((origin) => peers.get(origin));
    },
  });
}

/** Makes the lane of a peer due, which has just talked to us, and wakes it if it had been backing off. */
export type RouseLane = (peerId: string) => Promise<void>;

export function createLaneRouser({ db }: Database, wake: (lane: string) => void): RouseLane {
  return createGathering<string, void>({
    async run(ids) {
      for (const lane of await makeLanesDue(db, [...new Set(ids)])) wake(lane);
      return ids.map(() => undefined);
    },
  });
}
