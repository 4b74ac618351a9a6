import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "drizzle-orm";
import * as assert from "uvu/assert";
import { type Database, openDatabase } from "../../src/storage/database.ts";
import { insertRows } from "../../src/storage/insert-rows.ts";
import { journal, receivedActivities } from "../../src/storage/schema.ts";
import { freshDatabaseUrl } from "../harness/servers.ts";
import { suite } from "../harness/suite.ts";

const url = await freshDatabaseUrl();
const test = suite("many rows in one statement");

let database: Database;
let dataDir: string;
test.before(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "concordat-rows-"));
  database = await openDatabase({ url, dataDir: join(dataDir, "database") });
});
test.after(async () => {
  await database[Symbol.asyncDispose]();
  await rm(dataDir, { recursive: true });
});
test.before.each(async () => {
  await database.db.delete(receivedActivities);
  await database.db.delete(journal);
});

const receivedAt = new Date("2026-11-26T09:15:00.007Z");
/** What a careless statement would take for its own: quotes, backslashes, placeholders, and JSON within JSON. */
const body = { 'a"b': "it's \\ $1 {}", n: 1e21, nested: { list: [null, "é\u2028", '{"x":1}'] }, first: 0 };
const row = (id: string) => ({
  id,
  digest: "d",
  origin: "https://ouest.example",
  actor: "https://ouest.example/actor",
  type: "Like",
  objectUri: null,
  recipients: ["https://lyon.example/platforms/hcl", 'a,b"{}'],
  effect: "unhandled" as const,
  receipt: "r",
  receivedAt,
  body,
});

test("are stored as the same rows one by one would be", async () => {
  const rows = [row("one"), { ...row("two"), recipients: [] }];
  await insertRows(database.db, receivedActivities, rows);
  const stored = await database.db.select().from(receivedActivities).orderBy(receivedActivities.id);
  assert.equal(stored, rows);

  await database.db.insert(receivedActivities).values(row("three"));
  const texts = await database.db
    .select({ text: sql<string>`${receivedActivities.body}::text` })
    .from(receivedActivities);
  assert.is(new Set(texts.map(({ text }) => text)).size, 1);
});

test("leave columns that are not given to their defaults, and the order as it is", async () => {
  const entry = (action: string) => ({
    digest: "d",
    at: receivedAt,
    action,
    outcome: "ok" as const,
    audience: [],
    data: null,
  });
  await insertRows(
    database.db,
    journal,
    ["a", "b", "c"].map((action) => entry(action)),
  );
  const stored = await database.db.select().from(journal).orderBy(journal.id);
  assert.equal(
    stored.map(({ action, count, data }) => ({ action, count, data })),
    ["a", "b", "c"].map((action) => ({ action, count: 1, data: null })),
  );
});

test("are all stored or none", async () => {
  const twice = [row("one"), row("one")];
  const refused = await insertRows(database.db, receivedActivities, twice).catch(() => "refused");
  assert.is(refused, "refused");
  assert.is((await database.db.select().from(receivedActivities)).length, 0);
  await insertRows(database.db, receivedActivities, []);
});

test.run();
