/** Directory entries: by them a peer learns of this node's platforms and of their keys (docs/protocol.md, "Activities"). */
import { and, asc, eq, notInArray, or } from "drizzle-orm";
import { platformActor } from "../identity/actor-documents.ts";
import type { NodeKeys } from "../identity/node-keys.ts";
import { actorIds } from "../protocol/ids.ts";
import { readBundleItems } from "../registry/key-bundles.ts";
import { findListeners, type PeerRow } from "../registry/peers.ts";
import { listPublished, listRemoved, type PlatformRow } from "../registry/platforms.ts";
import type { Tx } from "../storage/database.ts";
import { activities, deliveries } from "../storage/schema.ts";
import { appendActivity, type OutboxContext, type Outgoing } from "./append.ts";

/** Tells `to` (all peers when absent) of one platform: its actor document and its key bundles. */
export async function announcePlatform(
  tx: Tx,
  context: OutboxContext,
  keys: NodeKeys,
  platform: PlatformRow,
  to?: readonly PeerRow[],
): Promise<readonly string[]> {
  const listeners = (to ?? (await findListeners(tx))).filter((peer) => mayLearn(peer, platform.handle));
  if (listeners.length === 0) return [];
  const { "@context": _, ...document } = platformActor({
    origin: context.origin,
    keys,
    handle: platform.handle,
    name: platform.name,
  });
  const members = { "hf:bundles": await readBundleItems(tx, [platform.uri]) };
  return await tell(tx, context, listeners, platform, { type: "Update", object: document, members });
}

/** Tells those of `to` (all peers when absent) that a platform is gone who learned of it and were not told yet. */
export async function announceRemoval(
  tx: Tx,
  context: OutboxContext,
  platform: PlatformRow,
  to?: readonly PeerRow[],
): Promise<readonly string[]> {
  const { uri } = platform;
  const told = await lastTold(tx, uri);
  const listeners = (to ?? (await findListeners(tx))).filter((peer) => told.get(peer.id) === "Update");
  if (listeners.length === 0) return [];
  const object = { id: uri, type: "Tombstone", deleted: context.now.toISOString() };
  return await tell(tx, context, listeners, platform, { type: "Delete", object });
}

/** Says something of a platform to peers, in its own name. */
async function tell(
  tx: Tx,
  context: OutboxContext,
  listeners: readonly PeerRow[],
  { uri }: PlatformRow,
  said: Pick<Outgoing, "type" | "object" | "members">,
): Promise<readonly string[]> {
  const to = listeners.map((peer) => actorIds.instance(peer.origin));
  const destinations = listeners.map((peer) => ({ peer, recipients: [] }));
  const { lanes } = await appendActivity(tx, context, { ...said, actor: uri, to, objectUri: uri }, destinations);
  return lanes;
}

/** What each peer was told last of a platform: its directory entry (`Update`), or that it is gone (`Delete`). */
async function lastTold(tx: Tx, uri: string): Promise<ReadonlyMap<string, string>> {
  const rows = await tx
    .select({ peer: deliveries.peerId, type: activities.type })
    .from(activities)
    .innerJoin(deliveries, eq(deliveries.activityId, activities.id))
    // What was cancelled may have arrived; that a peer is told is certain only of what was not.
    .where(
      and(
        eq(activities.objectUri, uri),
        or(eq(activities.type, "Update"), notInArray(deliveries.state, ["cancelled", "discarded"])),
      ),
    )
    .orderBy(asc(deliveries.seq));
  return new Map(rows.map(({ peer, type }) => [peer, type]));
}

/** Tells a new peer of every platform that has published its keys, and one that was a peer before who is gone since. */
export async function introducePlatforms(
  tx: Tx,
  context: OutboxContext,
  keys: NodeKeys,
  peer: PeerRow,
): Promise<readonly string[]> {
  const lanes: string[] = [];
  for (const platform of await listPublished(tx)) {
    lanes.push(...(await announcePlatform(tx, context, keys, platform, [peer])));
  }
  for (const platform of await listRemoved(tx)) lanes.push(...(await announceRemoval(tx, context, platform, [peer])));
  return lanes;
}

function mayLearn(peer: PeerRow, handle: string): boolean {
  return peer.policy.platforms === "all" || peer.policy.platforms.includes(handle);
}
