import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { count, isNotNull, type SQL, sql } from "drizzle-orm";
import * as assert from "uvu/assert";
import { mintUuid } from "../../src/protocol/ids.ts";
import { batch, dropOld } from "../../src/registry/retention.ts";
import { type Database, openDatabase } from "../../src/storage/database.ts";
import {
  activities,
  type DeliveryState,
  deliveries,
  idempotencyKeys,
  peers,
  receivedActivities,
} from "../../src/storage/schema.ts";
import { freshDatabaseUrl, noPostgres } from "../harness/servers.ts";
import { type Suite, skipSuite, suite } from "../harness/suite.ts";

const now = new Date();
const daysAgo = (days: number) => new Date(now.getTime() - days * 86_400_000);
const old = daysAgo(91);
const body = { id: "urn:a", type: "Create" };

const url = await freshDatabaseUrl();
const directory = await mkdtemp(join(tmpdir(), "concordat-retention-"));

describeRetention(suite("retention on PGlite"), { dataDir: directory });
describeRetention(
  url === undefined ? skipSuite("retention on PostgreSQL", noPostgres) : suite("retention on PostgreSQL"),
  { url },
);

/** What holds on both stores. */
function describeRetention(
  test: Suite,
  options: { readonly url?: string | undefined; readonly dataDir?: string },
): void {
  let database: Database;
  const peerIds = [mintUuid(), mintUuid()] as const;
  test.before(async () => {
    database = await openDatabase(options);
    const policy = { platforms: "all", activities: "all", per_minute: null, per_day: null } as const;
    for (const id of peerIds) {
      const origin = `https://${id}.example`;
      await database.db.insert(peers).values({ id, origin, state: "approved", policy, createdAt: old });
    }
  });
  test.after(async () => {
    await database[Symbol.asyncDispose]();
    await rm(directory, { recursive: true, force: true });
  });
  test.before.each(async () => {
    for (const table of [deliveries, activities, receivedActivities, idempotencyKeys]) await database.db.delete(table);
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

  const drop = (days = 90, at = now) => dropOld(database.db, { now: at, days, stopping: new AbortController().signal });

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

  test("keeps what is old by the clock of the process alone", async () => {
    await receive("new", now);
    await send("new", now, "delivered");
    const request = { caller: "platform:1", key: "new", requestDigest: "", answer: "", createdAt: now };
    await database.db.insert(idempotencyKeys).values(request);
    await drop(90, daysAgo(-400));
    assert.equal([await kept(activities), await kept(receivedActivities)], [["new"], ["new"]]);
    assert.is(await database.db.$count(idempotencyKeys), 1);
    await receive("old", old);
    await drop(90, daysAgo(400));
    assert.equal(await kept(receivedActivities), ["new", "old"], "one that is behind drops less");
  });

  test("keeps id, digest, effect and receipt of what was received", async () => {
    await receive("older", old);
    const [before] = await database.db.select().from(receivedActivities);
    await drop();
    assert.equal(await database.db.select().from(receivedActivities), [{ ...before, body: null }]);
  });

  test("drops the bodies of sent activities by what became of their deliveries", async () => {
    for (const state of ["queued", "delivered", "dead", "discarded", "cancelled"] as const)
      await send(state, old, state);
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

  test("forgets what answers repeated requests after seven days, and only then", async () => {
    for (const days of [6.999, 7, 7.001]) {
      const row = { caller: "platform:1", key: `of ${days}`, requestDigest: "", answer: "" };
      await database.db.insert(idempotencyKeys).values({ ...row, createdAt: daysAgo(days) });
    }
    await drop();
    const left = await database.db.select().from(idempotencyKeys);
    assert.equal(left.map(({ key }) => key).sort(), ["of 6.999", "of 7"]);
  });

  if (options.url !== undefined) {
    test("passes over what another process has in hand, and waits for nobody", async () => {
      for (const id of ["free", "in hand"]) {
        await receive(id, old);
        await send(id, old, "delivered");
        const row = { caller: "platform:1", key: id, requestDigest: "", answer: "" };
        await database.db.insert(idempotencyKeys).values({ ...row, createdAt: old });
      }
      const requests = async () => (await database.db.select().from(idempotencyKeys)).map(({ key }) => key);
      const all = async () => [await kept(receivedActivities), await kept(activities), await requests()];
      await database.transaction(async (tx) => {
        await tx.execute(sql`select from received_activities where id = 'in hand' for update`);
        await tx.execute(sql`select from activities where id = 'in hand' for update`);
        await tx.execute(sql`select from idempotency_keys where key = 'in hand' for update`);
        // A statement that waited would be ended by the server.
        await drop();
        assert.equal(await all(), [["in hand"], ["in hand"], ["in hand"]]);
      });
      await drop();
      assert.equal(await all(), [[], [], []]);
    });
  }

  /** More than two batches of each kind; of the activities each third is still to be sent. */
  const many = 2 * batch + 10;
  async function fill(): Promise<void> {
    const numbers = sql`generate_series(1, ${many}::int) as n`;
    // Many of one instant: a batch ends among them.
    const at = sql`${old.toISOString()}::timestamptz + (n / 700) * interval '1 second'`;
    await database.db.execute(sql`
    insert into received_activities (id, digest, origin, actor, type, effect, receipt, received_at, body)
    select 'r' || n, '', '', '', 'Create', 'applied', '', ${at}, '{}' from ${numbers}`);
    await database.db.execute(sql`
    insert into activities (id, type, actor, digest, body, created_at)
    select 'a' || n, 'Create', '', '', '{}', ${at} from ${numbers}`);
    await database.db.execute(sql`
    insert into deliveries (id, activity_id, peer_id, inbox, recipients, state, next_attempt_at, created_at)
    select gen_random_uuid(), 'a' || n, ${peerIds[0]}, '', '{}', 'queued', ${at}, ${at} from ${numbers} where n % 3 = 0`);
    await database.db.execute(sql`
    insert into idempotency_keys (caller, key, request_digest, answer, created_at)
    select 'c', 'k' || n, '', '', ${at} from ${numbers}`);
  }

  /** How many of each kind have not been dropped. */
  async function left(): Promise<{ received: number; sent: number; requests: number }> {
    const { db } = database;
    const [received] = await db
      .select({ n: count() })
      .from(receivedActivities)
      .where(isNotNull(receivedActivities.body));
    const [sent] = await db.select({ n: count() }).from(activities).where(isNotNull(activities.body));
    const [requests] = await db.select({ n: count() }).from(idempotencyKeys);
    return { received: received?.n ?? -1, sent: sent?.n ?? -1, requests: requests?.n ?? -1 };
  }

  const nothingLeft = { received: 0, sent: Math.floor(many / 3), requests: 0 };

  test("drops more than goes into a batch, and passes over what is still needed", async () => {
    await fill();
    await drop();
    assert.equal(await left(), nothingLeft);
  });

  test("stops after the batch that is under way, and goes on the next time", async () => {
    await fill();
    const stopping = new AbortController();
    const stopsAfterOne = new Proxy(database.db, {
      get: (db, name) =>
        name !== "execute"
          ? Reflect.get(db, name)
          : async (statement: SQL) => {
              const answer = await db.execute(statement);
              stopping.abort();
              return answer;
            },
    });
    await dropOld(stopsAfterOne, { now, days: 90, stopping: stopping.signal });
    assert.equal(await left(), { received: many - batch, sent: many, requests: many });
    await drop();
    assert.equal(await left(), nothingLeft);
  });

  test.run();
}
