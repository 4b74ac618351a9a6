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
const hours = (count: number) => count * 3_600;
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
  /** When the last attempt failed, by the clock of then. */
  readonly failedAt?: Date;
}

/** What peer and delivery say of the next attempt, and when the sweeper wakes the lane. */
async function nextIn({
  attempts,
  createdAt,
  ownTime,
  lane,
  failedAt = now,
}: Situation): Promise<readonly (Date | undefined)[]> {
  const [peerId, id] = [mintUuid(), mintUuid()];
  const activityId = `https://ouest.example/activities/${id}`;
  const lastError = { status: 503, code: "unavailable", at: failedAt.toISOString() };
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
    lastError: attempts === 0 ? null : lastError,
    createdAt,
  });
  if (lane !== undefined)
    await database.db.insert(lanes).values({ peerId, failures: 1, nextAttemptAt: lane, lastError });
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

for (const [name, waitUntil] of [
  ["a delivery's own time", (time: Date) => ({ ownTime: time })],
  ["a lane's back-off", (time: Date) => ({ ownTime: after(-5), lane: time })],
] as const) {
  const tried = { attempts: 1, createdAt: after(-10) };

  test(`${name} counts where the peer asked for a wait that is longer than any of our own`, async () => {
    const asked = after(hours(10));
    assert.equal(await nextIn({ ...tried, ...waitUntil(asked) }), [asked, asked, asked]);
  });

  for (const [where, time, failedAt] of [
    ["was written while the clock was far ahead", after(hours(10)), after(hours(9.9))],
    ["was written while the clock was ahead by less than a back-off", after(hours(2)), after(hours(1.9))],
    ["is further off than any wait", after(hours(25)), now],
  ] as const) {
    test(`${name} is over where it ${where}`, async () => {
      assert.equal(await nextIn({ ...tried, ...waitUntil(time), failedAt }), [now, now, now]);
    });
  }
}

test.run();
