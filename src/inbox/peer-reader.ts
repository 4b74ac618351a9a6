/** Peers as they are now: requests that ask at the same time share a statement, never an older answer. */
import { makeLanesDue } from "../outbox/lanes.ts";
import { findPeersByOrigin, type PeerRow } from "../registry/peers.ts";
import { createSoon } from "../soon.ts";
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
export interface RouseLane extends AsyncDisposable {
  (peerId: string): void;
}

export interface RouseOptions {
  readonly wake: (lane: string) => void;
  /** Gets what fails: the lane goes on at its time then. */
  readonly onError: (error: unknown) => void;
}

export function createLaneRouser({ db }: Database, { wake, onError }: RouseOptions): RouseLane {
  const talked = new Set<string>();
  const rouse = async () => {
    const ids = [...talked];
    talked.clear();
    for (const lane of await makeLanesDue(db, ids)) wake(lane);
  };
  const ask = createSoon(rouse, { interval: 100, onError });
  const rouseLane = (peerId: string) => {
    talked.add(peerId);
    ask();
  };
  return Object.assign(rouseLane, { [Symbol.asyncDispose]: ask[Symbol.asyncDispose] });
}
