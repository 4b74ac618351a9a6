import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { getDelivery } from "../../src/outbox/deliveries.ts";
import { sweepLanes } from "../../src/outbox/lanes.ts";
import { mintUuid } from "../../src/protocol/ids.ts";
import { system } from "../../src/registry/caller.ts";
import { getPeer } from "../../src/registry/peer-views.ts";
import { type Database, openDatabase } from "../../src/storage/database.ts";
import { activities, deliveries, lanes, peers } from "../../src/storage/schema.ts";
import { suite } from "../harness/suite.ts";

/** The peer, the delivery and the sweeper say the same of when something is tried next. */
const test = suite("next attempts");

const now = new Date();
const after = (seconds: number) => new Date(now.getTime() + seconds * 1000);

let root: string;
let database: Database;
test.before(async () => {
  root = await mkdtemp(join(tmpdir(), "concordat-next-"));
  database = await openDatabase({ dataDir: root });
});
test.after(async () => {
  await database[Symbol.asyncDispose]();
  await rm(root, { recursive: true });
});

interface Situation {
  /** Attempts of the one delivery, when it was made, and its own time. */
  readonly attempts: number;
  readonly createdAt: Date;
  readonly ownTime: Date;
  /** Until when the lane backs off. */
  readonly lane?: Date;
}

/** What peer and delivery say of the next attempt, and when the sweeper wakes the lane. */
async function nextIn({ attempts, createdAt, ownTime, lane }: Situation): Promise<readonly (Date | undefined)[]> {
  const [peerId, id] = [mintUuid(), mintUuid()];
  const activityId = `https://ouest.example/activities/${id}`;
  const policy = { platforms: "all", activities: "all", per_minute: null, per_day: null } as const;
  await database.db
    .insert(peers)
    .values({ id: peerId, origin: `https://${peerId}.example`, state: "approved", policy, createdAt });
  await database.db
    .insert(activities)
    .values({ id: activityId, type: "Create", actor: "a", digest: "", body: {}, createdAt });
  await database.db.insert(deliveries).values({
    id,
    activityId,
    peerId,
    inbox: "",
    recipients: [],
    state: "queued",
    attempts,
    nextAttemptAt: ownTime,
    createdAt,
  });
  if (lane !== undefined) await database.db.insert(lanes).values({ peerId, failures: 1, nextAttemptAt: lane });
  const woken = new Map<string, Date | undefined>();
  await sweepLanes({
    database,
    wake: (peer, at) => woken.set(peer, at),
    insist: (peer) => woken.set(peer, now),
    clock: () => now,
  });
  const said = [
    (await getPeer(database.db, system, peerId)).lane.next_attempt_at,
    (await getDelivery(database.db, system, id)).next_attempt_at,
  ];
  return [...said.map((text) => new Date(String(text))), woken.get(peerId)];
}

for (const [name, situation, expected] of [
  ["its own time", { attempts: 1, ownTime: after(60) }, after(60)],
  ["its own time, where the lane backs off for less", { attempts: 1, ownTime: after(60), lane: after(10) }, after(60)],
  ["the lane's, where that backs off for longer", { attempts: 1, ownTime: after(10), lane: after(60) }, after(60)],
  ["the lane's, where it was never tried", { attempts: 0, ownTime: after(-5), lane: after(60) }, after(60)],
] as const) {
  test(`a delivery is tried next at ${name}`, async () => {
    assert.equal(await nextIn({ createdAt: after(-10), ...situation }), [expected, expected, expected]);
  });
}

test("what was never tried is due, though the clock was ahead when it was made", async () => {
  for (const at of await nextIn({ attempts: 0, createdAt: after(3_600), ownTime: after(3_600) })) {
    assert.ok(at !== undefined && at <= new Date(), String(at));
  }
});

test.run();
