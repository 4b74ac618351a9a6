import { isNotNull, sql } from "drizzle-orm";
import * as assert from "uvu/assert";
import { findDue } from "../../src/outbox/due.ts";
import { takeLease } from "../../src/outbox/leases.ts";
import { writeOutcomes } from "../../src/outbox/written-outcomes.ts";
import { mintUuid } from "../../src/protocol/ids.ts";
import { dropOld } from "../../src/registry/retention.ts";
import { sequenceJournal } from "../../src/registry/sequencer.ts";
import { type Database, openDatabase } from "../../src/storage/database.ts";
import { activities, peers, receivedActivities } from "../../src/storage/schema.ts";
import { freshDatabaseUrl, noPostgres } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";

/** What is written for each delivery and each journal row, and what is dropped, is found by an index, however many there are. */
const url = await freshDatabaseUrl();
const test = url === undefined ? skipSuite("plans", noPostgres) : suite("plans");

let database: Database;
const peerId = mintUuid();
test.before(async () => {
  database = await openDatabase({ url });
  const policy = { platforms: "all", activities: "all", per_minute: null, per_day: null } as const;
  await database.db
    .insert(peers)
    .values({ id: peerId, origin: "https://lyon.example", state: "approved", policy, createdAt: new Date() });
  // Statistics as they are while tables grow.
  await database.db.execute(sql`alter table deliveries set (autovacuum_enabled = false)`);
  await database.db.execute(sql`alter table journal set (autovacuum_enabled = false)`);
  await database.db.execute(sql`alter table activities set (autovacuum_enabled = false)`);
  await database.db.execute(sql`alter table received_activities set (autovacuum_enabled = false)`);
  await database.db.execute(sql`
    insert into activities (id, type, actor, digest, body, created_at)
    select 'a' || n, 'Like', 'a', '', '{}', now() from generate_series(1, 5000) as n`);
  await database.db.execute(sql`
    insert into deliveries (id, activity_id, peer_id, inbox, recipients, state, next_attempt_at, created_at)
    select gen_random_uuid(), 'a' || n, ${peerId}, '', '{}', 'queued', now(), now() from generate_series(1, 5000) as n`);
  await database.db.execute(sql`
    insert into journal (digest, at, action, outcome, audience)
    select 'd' || n, now(), 'x', 'ok', '{}' from generate_series(1, 5000) as n`);
  await sequenceJournal(database);
});
test.after(async () => {
  await database[Symbol.asyncDispose]();
});

/** How often a table was read from its beginning to its end, by the one connection that all of this goes over. */
async function wholeReadsOf(table: string): Promise<number> {
  await database.db.execute(sql`select pg_stat_force_next_flush()`);
  const found = await database.db.execute(
    sql`select seq_scan::int as reads from pg_stat_user_tables where relname = ${table}`,
  );
  return Number((found as unknown as { rows: { reads: number }[] }).rows[0]?.reads);
}

test("a delivery is found and written without reading all of them", async () => {
  const worker = "worker";
  assert.is(await takeLease(database.db, { peerId, worker, now: new Date() }), true);
  const before = await wholeReadsOf("deliveries");
  // More often than PostgreSQL plans for the values alone.
  for (let at = 0; at < 80; at += 1) {
    const [due, ...ahead] = await findDue(database.db, { peerId, now: new Date() });
    if (!due) throw new Error("nothing is due");
    const attempted = [{ due, outcome: { kind: "delivered", receipt: null, effect: null } as const }];
    const writing = { database, clock: () => new Date(), retry: { base: 1, cap: 1 }, random: () => 0 };
    const still = await writeOutcomes(writing, { peerId, worker, attempted, ahead });
    assert.equal(still, ahead);
    assert.ok(ahead.length > 0);
  }
  assert.is(await wholeReadsOf("deliveries"), before);
});

test("a journal row is numbered without reading all of them", async () => {
  const before = await wholeReadsOf("journal");
  for (let at = 0; at < 20; at += 1) {
    await database.db.execute(sql`
      insert into journal (digest, at, action, outcome, audience) values (${`n${at}`}, now(), 'x', 'ok', '{}')`);
    assert.is(await sequenceJournal(database), 1);
  }
  assert.is(await wholeReadsOf("journal"), before);
});

test("what is old is found among all that was dropped before", async () => {
  const { db } = database;
  const old = sql`now() - interval '91 days'`;
  await db.execute(sql`
    insert into activities (id, type, actor, digest, body, created_at)
    select 'old' || n, 'Like', 'a', '', case when n % 100 = 0 then '{}'::json end, ${old} from generate_series(1, 5000) as n`);
  await db.execute(sql`
    insert into received_activities (id, digest, origin, actor, type, effect, receipt, received_at, body)
    select 'old' || n, '', '', '', 'Like', 'applied', '', ${old}, case when n % 100 = 0 then '{}'::json end
    from generate_series(1, 5000) as n`);
  const tables = ["activities", "received_activities", "deliveries"];
  const reads = async () => {
    const found: number[] = [];
    for (const table of tables) found.push(await wholeReadsOf(table));
    return found;
  };
  const kept = async () => [
    await db.$count(activities, isNotNull(activities.body)),
    await db.$count(receivedActivities, isNotNull(receivedActivities.body)),
  ];
  assert.equal(await kept(), [5050, 50]);
  const before = await reads();
  await dropOld(db, { now: new Date(), days: 90, stopping: new AbortController().signal });
  assert.equal(await reads(), before);
  assert.equal(await kept(), [5000, 0]);
});

test.run();
