/** Appends activities and their deliveries to the outbox, in the transaction of the change that they tell of. */
import { and, eq, inArray, sql } from "drizzle-orm";
import { context, protocolVersion } from "../protocol/activities.ts";
import { digestJson } from "../protocol/canonical-json.ts";
import { mintId, mintUuid, originOf } from "../protocol/ids.ts";
import type { JsonObject } from "../protocol/objects.ts";
import type { Announcement } from "../registry/announcements.ts";
import { readBundleItems } from "../registry/key-bundles.ts";
import { findPeersOf, type PeerRow } from "../registry/peers.ts";
import type { Tx } from "../storage/database.ts";
import { insertRows } from "../storage/insert-rows.ts";
import { activities, deliveries } from "../storage/schema.ts";

export interface OutboxContext {
  readonly origin: string;
  readonly now: Date;
}

/** An activity before it has an id; `members` are what its type has besides. */
export interface Outgoing {
  readonly type: string;
  readonly actor: string;
  readonly to: readonly string[];
  readonly object: JsonObject | string;
  readonly members?: JsonObject;
  /** The federated object that it is about, where there is one, and its revision. */
  readonly objectUri?: string;
  readonly revision?: number;
  readonly protocol?: number | undefined;
}

export interface Destination {
  readonly peer: PeerRow;
  /** Platforms at that peer for whom the activity is; empty for what is between the nodes. */
  readonly recipients: readonly string[];
}

export interface Appended {
  readonly id: string;
  /** Peers whose lanes are to be woken after the commit. */
  readonly lanes: readonly string[];
}

/** Writes one activity and a delivery to each destination. */
export async function appendActivity(
  tx: Tx,
  { origin, now }: OutboxContext,
  outgoing: Outgoing,
  destinations: readonly Destination[],
): Promise<Appended> {
  const id = mintId(origin, "activities", now.getTime());
  const body = {
    "@context": context,
    id,
    type: outgoing.type,
    actor: outgoing.actor,
    to: outgoing.to,
    object: outgoing.object,
    "hf:protocol": outgoing.protocol ?? protocolVersion,
    ...outgoing.members,
  };
  await insertRows(tx, activities, [
    {
      id,
      type: outgoing.type,
      actor: outgoing.actor,
      objectUri: outgoing.objectUri ?? null,
      revision: outgoing.revision ?? null,
      digest: digestJson(body),
      body,
      createdAt: now,
    },
  ]);
  const rows = destinations.flatMap(({ peer, recipients }) =>
    peer.inbox === null
      ? []
      : {
          id: mintUuid(),
          activityId: id,
          peerId: peer.id,
          inbox: peer.inbox,
          recipients: [...recipients],
          state: "queued" as const,
          nextAttemptAt: now,
          createdAt: now,
        },
  );
  await insertRows(tx, deliveries, rows);
  return { id, lanes: rows.map((row) => row.peerId) };
}

/** Tells the nodes of an announcement's recipients; platforms of this node are served by their access row. */
export async function appendAnnouncements(
  tx: Tx,
  context: OutboxContext,
  announcements: readonly Announcement[],
): Promise<{ readonly ids: readonly string[]; readonly lanes: readonly string[] }> {
  const ids: string[] = [];
  const lanes = new Set<string>();
  for (const announcement of announcements) {
    const { actor, type, object, objectUri, revision, protocol, target, baseRevision, recipients } = announcement;
    const destinations = await destinationsOf(tx, context.origin, recipients);
    if (type === "Remove" || type === "Delete") await cancelFor(tx, objectUri, recipients);
    const bundles = announcement.bundlesOf.length > 0 ? await readBundleItems(tx, announcement.bundlesOf) : [];
    const members = {
      ...(target === undefined ? {} : { target, "hf:revision": revision }),
      ...(baseRevision === undefined ? {} : { "hf:baseRevision": baseRevision }),
      ...(bundles.length > 0 ? { "hf:bundles": bundles } : {}),
    };
    const outgoing = { type, actor, to: recipients, object, members, objectUri, revision, protocol };
    const appended = await appendActivity(tx, context, outgoing, destinations);
    ids.push(appended.id);
    for (const lane of appended.lanes) lanes.add(lane);
  }
  return { ids, lanes: [...lanes] };
}

/** The peers at which `recipients` are at home, each with its own of them. */
async function destinationsOf(tx: Tx, origin: string, recipients: readonly string[]): Promise<readonly Destination[]> {
  const byOrigin = new Map<string, string[]>();
  for (const recipient of recipients) {
    const home = originOf(recipient);
    if (home !== origin) byOrigin.set(home, [...(byOrigin.get(home) ?? []), recipient]);
  }
  const found = await findPeersOf(tx, [...byOrigin.keys()]);
  return found.map((peer) => ({ peer, recipients: byOrigin.get(peer.origin) ?? [] }));
}

/** Everything that still waits for a peer: with the peering ended, nothing of it may be sent. */
export async function cancelDeliveries(tx: Tx, peerId: string): Promise<void> {
  await tx
    .update(deliveries)
    .set({ state: "cancelled" })
    .where(and(eq(deliveries.peerId, peerId), eq(deliveries.state, "queued")));
}

/** What waits for a platform alone that is gone: nobody is there who would read it. */
export async function cancelDeliveriesTo(tx: Tx, platform: string): Promise<void> {
  await tx
    .update(deliveries)
    .set({ state: "cancelled" })
    .where(and(eq(deliveries.recipients, [platform]), eq(deliveries.state, "queued")));
}

/** Undelivered rows of an object that were for these platforms alone: nobody may read them any more. */
async function cancelFor(tx: Tx, objectUri: string, platforms: readonly string[]): Promise<void> {
  const ofObject = tx.select({ id: activities.id }).from(activities).where(eq(activities.objectUri, objectUri));
  await tx
    .update(deliveries)
    .set({ state: "cancelled" })
    .where(
      and(
        inArray(deliveries.activityId, ofObject),
        eq(deliveries.state, "queued"),
        sql`${deliveries.recipients} <@ array[${sql.join(
          platforms.map((platform) => sql`${platform}`),
          sql`, `,
        )}]::text[]`,
      ),
    );
}
