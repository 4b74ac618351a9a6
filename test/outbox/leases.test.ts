import { eq, sql } from "drizzle-orm";
import * as assert from "uvu/assert";
import { sweepLanes } from "../../src/outbox/lanes.ts";
import { renewLease, takeLease } from "../../src/outbox/leases.ts";
import { mintUuid } from "../../src/protocol/ids.ts";
import { type Database, openDatabase } from "../../src/storage/database.ts";
import { activities, deliveries, lanes, peers } from "../../src/storage/schema.ts";
import { freshDatabaseUrl, noPostgres } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";

/** Workers on hosts whose clocks differ take turns by the clock of their database. */
const url = await freshDatabaseUrl();
const test = url === undefined ? skipSuite("leases of lanes", noPostgres) : suite("leases of lanes");

const ahead = (seconds: number) => () => new Date(Date.now() + seconds * 1000);
const minute = 60;

let ours: Database;
let theirs: Database;
let peerId: string;
test.before(async () => {
  ours = await openDatabase({ url });
  theirs = await openDatabase({ url });
});
test.after(async () => {
  await ours[Symbol.asyncDispose]();
  await theirs[Symbol.asyncDispose]();
});
test.before.each(async () => {
  peerId = mintUuid();
  const policy = { platforms: "all", activities: "all", per_minute: null, per_day: null } as const;
  const createdAt = new Date();
  await ours.db
    .insert(peers)
    .values({ id: peerId, origin: `https://${peerId}.example`, state: "approved", policy, createdAt });
  const id = `https://ouest.example/activities/${peerId}`;
  await ours.db.insert(activities).values({ id, type: "Create", actor: "a", digest: "", body: {}, createdAt });
  await ours.db.insert(deliveries).values({
    ...{ id: mintUuid(), activityId: id, peerId, inbox: "", recipients: [], createdAt },
    ...{ state: "queued", nextAttemptAt: createdAt },
  });
});

const take = ({ db }: Database, worker: string, clock: () => Date) =>
  db.transaction((tx) => takeLease(tx, { peerId, worker, now: clock() }));

/** Seconds for which a lane waits at most after its worker was killed. */
const longest = 4;

/** Seconds that are left by the database's clock; null when nobody holds the lane. */
async function secondsLeft(): Promise<number | null> {
  const [row] = await ours.db
    .select({ left: sql<string | null>`extract(epoch from ${lanes.lockedUntil} - clock_timestamp())` })
    .from(lanes)
    .where(eq(lanes.peerId, peerId));
  return row?.left == null ? null : Number(row.left);
}

for (const [difference, seconds] of [
  ["ahead", minute],
  ["behind", -minute],
] as const) {
  test(`a worker whose clock is ${difference} does not take a lane that is held`, async () => {
    assert.is(await take(ours, "ours", ahead(0)), true);
    assert.is(await take(theirs, "theirs", ahead(seconds)), false);
    await sweepLanes({ database: theirs, wake: () => {}, insist: () => {}, clock: ahead(seconds) });
    assert.is(await take(theirs, "theirs", ahead(seconds)), false, "after it has swept");
    assert.is(await renewLease(ours.db, { peerId, worker: "ours" }), true);
  });

  test(`a worker whose clock is ${difference} holds a lane for no longer than others`, async () => {
    assert.is(await take(theirs, "theirs", ahead(seconds)), true);
    for (const done of ["taken", "renewed"]) {
      const left = (await secondsLeft()) ?? 0;
      assert.ok(left > 0 && left <= longest, `${left} s, ${done}`);
      await renewLease(theirs.db, { peerId, worker: "theirs" });
    }
  });

  test(`a worker whose clock is ${difference} takes over a lane whose lease has run out`, async () => {
    assert.is(await take(ours, "ours", ahead(0)), true);
    await ours.db.update(lanes).set({ lockedUntil: sql`clock_timestamp()` });
    assert.is(await take(theirs, "theirs", ahead(seconds)), true);
    assert.is(await renewLease(ours.db, { peerId, worker: "ours" }), false);
  });

  test(`a worker whose clock is ${difference} comes back when the lease of another has run out`, async () => {
    await take(ours, "ours", ahead(0));
    const clock = ahead(seconds);
    const before = clock().getTime();
    const woken = new Map<string, Date | undefined>();
    await sweepLanes({ database: theirs, wake: (lane, at) => woken.set(lane, at), insist: () => {}, clock });
    const at = woken.get(peerId)?.getTime() ?? 0;
    assert.ok(at > before && at <= clock().getTime() + 1_000 * longest, `${at - before} ms`);
  });
}

test("a lease longer than any that is given out is no lease: a sweep ends it, and leaves the others", async () => {
  assert.is(await take(ours, "ours", ahead(0)), true);
  const sweep = () => sweepLanes({ database: theirs, wake: () => {}, insist: () => {}, clock: ahead(0) });
  await sweep();
  assert.is(await renewLease(ours.db, { peerId, worker: "ours" }), true);
  // As the database wrote it while its clock was ahead by an hour.
  await ours.db.update(lanes).set({ lockedUntil: sql`clock_timestamp() + interval '1 hour'` });
  assert.is(await take(theirs, "theirs", ahead(0)), false);
  await sweep();
  assert.is(await take(theirs, "theirs", ahead(0)), true);
});

test.run();
