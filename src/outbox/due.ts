/** What is due to one peer: the oldest delivery, and with it those that may go in the same request. */
import { and, asc, eq, inArray, or, type Placeholder, type SQL, sql } from "drizzle-orm";
import { limits } from "../protocol/limits.ts";
import { dueAt } from "../registry/next-attempts.ts";
import { sendingStates } from "../registry/peer-states.ts";
import type { PeerRow } from "../registry/peers.ts";
import type { Tx } from "../storage/database.ts";
import { preparedOnce } from "../storage/prepared.ts";
import { activities, deliveries, peers } from "../storage/schema.ts";

export interface Due {
  readonly peer: PeerRow;
  /** Changes with the peer. */
  readonly peerVersion: string;
  readonly delivery: typeof deliveries.$inferSelect;
  readonly activity: typeof activities.$inferSelect;
}

/** What is between the nodes decides who may send batches, and so goes alone. */
const betweenNodes = ["Follow", "Accept", "Reject", "Undo"];

/**
 * The oldest due deliveries, no more and together no larger than a batch may be, with the peer as it is now: while a lane
 * is drained it may rotate its keys, or be suspended. What must go alone comes alone.
 */
export async function findDue(
  tx: Tx,
  { peerId, now }: { readonly peerId: string; readonly now: Date },
): Promise<readonly Due[]> {
  return await prepareDue(tx).execute({ peerId, now: now.toISOString() });
}

const versionOfPeer = sql<string>`peers.xmin::text`;

/** Of the deliveries `ids` found before, those that may still go: nobody withdrew them, and their peer is as it was. */
export const stillDue = (ids: Placeholder, peerVersion: Placeholder): SQL<string[]> => sql`array(
  select deliveries.id::text from deliveries join peers on peers.id = deliveries.peer_id
  where deliveries.id = any(${ids}::uuid[]) and deliveries.state = 'queued' and ${versionOfPeer} = ${peerVersion})`;

/** Once for each handle: writing this statement takes longer than most of its answers. */
const prepareDue = preparedOnce((tx: Tx) => {
  const now = sql`${sql.placeholder("now")}::timestamptz`;
  const oldest = tx
    .select({
      id: deliveries.id,
      seq: deliveries.seq,
      octets: sql<number>`octet_length(${activities.body}::text) + 1`.as("octets"),
      alone: sql<boolean>`${inArray(activities.type, betweenNodes)} or ${peers.state} <> 'approved'`.as("alone"),
    })
    .from(deliveries)
    .innerJoin(activities, eq(activities.id, deliveries.activityId))
    .innerJoin(peers, eq(peers.id, deliveries.peerId))
    .where(
      and(
        eq(deliveries.peerId, sql.placeholder("peerId")),
        inArray(peers.state, [...sendingStates]),
        eq(deliveries.state, "queued"),
        sql`${dueAt(now)} <= ${now}`,
      ),
    )
    .orderBy(asc(deliveries.seq))
    .limit(limits.batchActivities)
    .as("oldest");
  const line = tx
    .select({
      id: oldest.id,
      number: sql<number>`row_number() over (order by ${oldest.seq})`.as("number"),
      octets: sql<number>`sum(${oldest.octets}) over (order by ${oldest.seq})`.as("octets_so_far"),
      alone: sql<boolean>`bool_or(${oldest.alone}) over (order by ${oldest.seq})`.as("alone_so_far"),
    })
    .from(oldest)
    .as("line");
  return tx
    .select({ delivery: deliveries, activity: activities, peer: peers, peerVersion: versionOfPeer })
    .from(line)
    .innerJoin(deliveries, eq(deliveries.id, line.id))
    .innerJoin(activities, eq(activities.id, deliveries.activityId))
    .innerJoin(peers, eq(peers.id, deliveries.peerId))
    .where(or(eq(line.number, 1), sql`${line.octets} < ${limits.batchOctets} and not ${line.alone}`))
    .orderBy(asc(deliveries.seq))
    .prepare("find_due");
});
