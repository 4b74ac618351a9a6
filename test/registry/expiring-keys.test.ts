import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eq } from "drizzle-orm";
import * as assert from "uvu/assert";
import { archiveAccessKey, changeAccessKey, issueAccessKey } from "../../src/registry/access-keys.ts";
import { system } from "../../src/registry/caller.ts";
import { tellExpiringKeys } from "../../src/registry/expiring-keys.ts";
import { administrators } from "../../src/registry/journal.ts";
import { createPlatform } from "../../src/registry/platforms.ts";
import { type Database, openDatabase } from "../../src/storage/database.ts";
import { accessKeys, journal } from "../../src/storage/schema.ts";
import { suite } from "../harness/suite.ts";

/** Access keys that end are told of 30, 7 and 1 days before, once each; the database's clock is the true one here. */
const test = suite("expiring access keys");

const days = 86_400_000;
const now = new Date();
const ago = (count: number) => new Date(now.getTime() - count * days);
const ahead = (count: number) => ago(-count);

let dataDir: string;
let database: Database;
let platform: { readonly id: string; readonly uri: string };
test.before(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "concordat-expiring-"));
  database = await openDatabase({ dataDir: join(dataDir, "database") });
  const wanted = { name: "Rennes", handle: "rennes" };
  const made = { origin: "https://ouest.example", now: ago(365), days: 365 * 3 };
  platform = await database.transaction((tx) => createPlatform(tx, system, wanted, made));
});
test.after(async () => {
  await database[Symbol.asyncDispose]();
  await rm(dataDir, { recursive: true });
});

const issue = (endsAt: Date, at: Date) =>
  database.transaction((tx) =>
    issueAccessKey(tx, system, { platformId: platform.id, startsAt: at, endsAt }, { now: at, days: 1 }),
  );
const tell = (at = now) => tellExpiringKeys(database, at);
const toldOf = (id: string) => database.db.select().from(journal).where(eq(journal.object, id));
const warningsOf = async (id: string) => (await toldOf(id)).filter(({ action }) => action === "access_key.expiring");

test("platform and administrators are told when the time has come, once", async () => {
  const key = await issue(ahead(6), ago(30));
  await tell();
  await tell();
  const [warning, ...more] = await warningsOf(key.id);
  assert.equal(more, [], "though the 30th and the 7th day before the end have both passed");
  assert.equal(warning?.audience, [platform.uri, administrators]);
  assert.equal(warning?.data, { platform: platform.uri, key: key.prefix, end_datetime: key.end_datetime });
});

test("a key that was not told of for the last time is told of again", async () => {
  const key = await issue(ahead(0.5), ago(20));
  const before = ago(3);
  await tell(before);
  assert.is((await warningsOf(key.id)).length, 1, "the 7th day before the end");
  await tell();
  assert.is((await warningsOf(key.id)).length, 2, "the day before the end");
  await tell();
  assert.is((await warningsOf(key.id)).length, 2);
});

test("nothing is told of a key that is new, archived, over, or has been given more time", async () => {
  const fresh = await issue(ahead(20), now);
  const archived = await issue(ahead(0.5), ago(20));
  await database.transaction((tx) => archiveAccessKey(tx, system, archived.id, now));
  const over = await issue(ago(0.5), ago(20));
  const extended = await issue(ahead(0.5), ago(20));
  await database.transaction((tx) => changeAccessKey(tx, system, extended.id, { endsAt: ahead(100) }, now));
  await tell();
  for (const { id } of [fresh, archived, over, extended]) assert.equal(await warningsOf(id), []);
});

test("a process whose clock is ahead tells nothing early, and takes no warning away", async () => {
  const early = await issue(ahead(50), now);
  const due = await issue(ahead(29.99), ago(30));
  await tell(ahead(40));
  assert.equal(await warningsOf(early.id), []);
  assert.is((await warningsOf(due.id)).length, 1, "it is due by the right clock as well");
  const [row] = await database.db.select().from(accessKeys).where(eq(accessKeys.id, due.id));
  assert.equal(row?.warnAt, new Date(Date.parse(due.end_datetime) - 7 * days), "and will be again in time");
});

test.run();
