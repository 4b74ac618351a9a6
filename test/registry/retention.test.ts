import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { mintUuid } from "../../src/protocol/ids.ts";
import { dropOldBodies } from "../../src/registry/retention.ts";
import { type Database, openDatabase } from "../../src/storage/database.ts";
import { activities, type DeliveryState, deliveries, peers, receivedActivities } from "../../src/storage/schema.ts";
import { suite } from "../harness/suite.ts";

const test = suite("retention of bodies");

const now = new Date("2026-11-26T08:00:00.000Z");
const daysAgo = (days: number) => new Date(now.getTime() - days * 86_400_000);
const old = daysAgo(91);
const body = { id: "urn:a", type: "Create" };

let root = "";
let database: Database;
const peerIds = [mintUuid(), mintUuid()] as const;
test.before(async () => {
  root = await mkdtemp(join(tmpdir(), "concordat-retention-"));
  database = await openDatabase({ dataDir: root });
  const policy = { platforms: "all", activities: "all", per_minute: null, per_day: null } as const;
  for (const id of peerIds) {
    const origin = `https://${id}.example`;
    await database.db.insert(peers).values({ id, origin, state: "approved", policy, createdAt: old });
  }
});
test.after(async () => {
  await database[Symbol.asyncDispose]();
  await rm(root, { recursive: true });
});
test.before.each(async () => {
  for (const table of [deliveries, activities, receivedActivities]) await database.db.delete(table);
});

async function receive(id: string, receivedAt: Date): Promise<void> {
  const rest = { actor: "a", type: "Create", effect: "applied", origin: "https://ouest.example" } as const;
  await database.db
    .insert(receivedActivities)
    .values({ id, digest: `digest of ${id}`, receipt: `receipt of ${id}`, receivedAt, body, ...rest });
}

/** An activity of this node with a delivery to each peer, in these states. */
async function send(id: string, createdAt: Date, ...states: readonly DeliveryState[]): Promise<void> {
  await database.db
    .insert(activities)
    .values({ id, type: "Create", actor: "a", digest: `digest of ${id}`, body, createdAt });
  for (const [at, state] of states.entries()) {
    const peerId = peerIds[at] ?? "";
    const row = { id: mintUuid(), activityId: id, peerId, inbox: `inbox ${at}`, recipients: [], createdAt };
    await database.db.insert(deliveries).values({ ...row, state, nextAttemptAt: createdAt, receipt: "a receipt" });
  }
}

const drop = (days = 90) => dropOldBodies(database.db, { now, days });

/** Ids of the activities that still have a body. */
async function kept(table: typeof activities | typeof receivedActivities): Promise<string[]> {
  const found = await database.db.select({ id: table.id, body: table.body }).from(table);
  return found
    .filter((row) => row.body !== null)
    .map((row) => row.id)
    .sort();
}

test("drops the bodies of received activities that are older, and of no others", async () => {
  await receive("older", daysAgo(90.001));
  await receive("as old", daysAgo(90));
  await receive("new", now);
  await drop();
  assert.equal(await kept(receivedActivities), ["as old", "new"]);
});

test("keeps id, digest, effect and receipt of what was received", async () => {
  await receive("older", old);
  const [before] = await database.db.select().from(receivedActivities);
  await drop();
  assert.equal(await database.db.select().from(receivedActivities), [{ ...before, body: null }]);
});

test("drops the bodies of sent activities by what became of their deliveries", async () => {
  for (const state of ["queued", "delivered", "dead", "discarded", "cancelled"] as const) await send(state, old, state);
  await send("for platforms of this node alone", old);
  await drop();
  assert.equal(await kept(activities), ["dead", "queued"], "these may still be sent");
});

test("keeps a body for as long as one of several deliveries needs it", async () => {
  await send("one queued", old, "delivered", "queued");
  await send("one dead", old, "dead", "delivered");
  await send("none left", old, "delivered", "discarded");
  await drop();
  assert.equal(await kept(activities), ["one dead", "one queued"]);
});

test("keeps bodies of sent activities that are not older", async () => {
  await send("as old", daysAgo(90), "delivered");
  await send("older", daysAgo(90.001), "delivered");
  await drop();
  assert.equal(await kept(activities), ["as old"]);
});

test("keeps deliveries and receipts of what was sent", async () => {
  await send("older", old, "delivered");
  const [activity] = await database.db.select().from(activities);
  const rows = await database.db.select().from(deliveries);
  await drop();
  assert.equal(await database.db.select().from(activities), [{ ...activity, body: null }]);
  assert.equal(await database.db.select().from(deliveries), rows);
});

test("counts the days that it is given", async () => {
  await receive("of last week", daysAgo(8));
  await send("of last week", daysAgo(8), "delivered");
  await drop(90);
  assert.equal([await kept(activities), await kept(receivedActivities)], [["of last week"], ["of last week"]]);
  await drop(7);
  assert.equal([await kept(activities), await kept(receivedActivities)], [[], []]);
});

test.run();
