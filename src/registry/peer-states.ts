/** What the states of a peer mean to what is sent and known. */
import type { PeerState } from "../storage/schema.ts";

/** There is a peering, though it may be suspended: what is for such a peer is written down, and sent when it may be. */
export const peeredStates: readonly PeerState[] = ["approved", "suspended"];

/**
 * States in which a peer's lane may send; otherwise it is held. What is left for a rejected or revoked peer is the word
 * that says so.
 */
export const sendingStates: readonly PeerState[] = ["approved", "pending_out", "rejected", "revoked"];
