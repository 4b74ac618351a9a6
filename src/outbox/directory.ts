/** Directory entries: by them a peer learns of this node's platforms and of their keys (docs/protocol.md, "Activities"). */
import { platformActor } from "../identity/actor-documents.ts";
import type { NodeKeys } from "../identity/node-keys.ts";
import { actorIds } from "../protocol/ids.ts";
import { readBundleItems } from "../registry/key-bundles.ts";
import { findListeners, type PeerRow } from "../registry/peers.ts";
import { listPublished, type PlatformRow } from "../registry/platforms.ts";
import type { Tx } from "../storage/database.ts";
import { appendActivity, type OutboxContext } from "./append.ts";

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
  const { lanes } = await appendActivity(
    tx,
    context,
    {
      type: "Update",
      actor: platform.uri,
      to: listeners.map((peer) => actorIds.instance(peer.origin)),
      object: document,
      members: { "hf:bundles": await readBundleItems(tx, [platform.uri]) },
      objectUri: platform.uri,
    },
    listeners.map((peer) => ({ peer, recipients: [] })),
  );
  return lanes;
}

/** Tells the peers that knew of a platform that it is gone. */
export async function announceRemoval(
  tx: Tx,
  context: OutboxContext,
  { uri, handle, membership }: PlatformRow,
): Promise<readonly string[]> {
  const listeners = (await findListeners(tx)).filter((peer) => mayLearn(peer, handle));
  if (membership === null || listeners.length === 0) return [];
  const to = listeners.map((peer) => actorIds.instance(peer.origin));
  const object = { id: uri, type: "Tombstone", deleted: context.now.toISOString() };
  const { lanes } = await appendActivity(
    tx,
    context,
    { type: "Delete", actor: uri, to, object, objectUri: uri },
    listeners.map((peer) => ({ peer, recipients: [] })),
  );
  return lanes;
}

/** Tells a new peer of every platform that has published its keys. */
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
  return lanes;
}

function mayLearn(peer: PeerRow, handle: string): boolean {
  return peer.policy.platforms === "all" || peer.policy.platforms.includes(handle);
}
