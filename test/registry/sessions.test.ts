import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eq, sql } from "drizzle-orm";
import * as assert from "uvu/assert";
import type { Problem } from "../../src/errors.ts";
import { issueAccessKey } from "../../src/registry/access-keys.ts";
import { system } from "../../src/registry/caller.ts";
import { changePlatform, createPlatform } from "../../src/registry/platforms.ts";
import { logIn, resolveSession } from "../../src/registry/sessions.ts";
import { type Database, openDatabase } from "../../src/storage/database.ts";
import { loginFailures, sessions } from "../../src/storage/schema.ts";
import { freshDatabaseUrl, noPostgres } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

/** Logins and sessions where clocks differ, and where a suspension comes in between. */
const test = suite("sessions");
// PGlite has one session; only on PostgreSQL two transactions really meet.
const url = await freshDatabaseUrl();
const race =
  url === undefined ? skipSuite("a login beside a suspension", noPostgres) : suite("a login beside a suspension");

const origin = "https://ouest.example";
const now = new Date();
const context = { address: "192.0.2.1", secret: randomBytes(32), now };
const later = (seconds: number) => new Date(now.getTime() + seconds * 1000);

let dataDir: string;
let database: Database;
test.before(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "concordat-sessions-"));
  database = await openDatabase({ url, dataDir: join(dataDir, "database") });
});
const closing = url === undefined ? test : race;
closing.after(async () => {
  await database[Symbol.asyncDispose]();
  await rm(dataDir, { recursive: true });
});

const create = async (handle: string) => {
  const wanted = { name: handle, handle };
  const made = await database.transaction((tx) => createPlatform(tx, system, wanted, { origin, now, days: 1 }));
  return { id: made.id, handle, key: String(made.access_keys[0]?.key) };
};
const enter = (username: string, password: string, at = now) =>
  database.transaction((tx) => logIn(tx, { username, password }, { ...context, now: at }));
const suspend = (id: string) =>
  database.transaction((tx) => changePlatform(tx, system, id, { status: "suspended" }, now));

test("guesses that a clock has counted that was far ahead lock nobody out", async () => {
  const { handle, key } = await create("guessed");
  for (let guess = 0; guess < 10; guess += 1) await enter(handle, "wrong", later(86_400));
  const there = await enter(handle, key, later(86_400)).catch((error: unknown) => error);
  assert.is((there as Problem).code, "rate_limited");
  assert.ok((await enter(handle, key)).accepted);
});

test("an access key from a clock that is ahead opens sessions, as far as the protocol allows clocks to differ", async () => {
  const { id: platformId, handle } = await create("clocks");
  const made = await database.transaction((tx) =>
    issueAccessKey(tx, system, { platformId }, { now: later(300), days: 1 }),
  );
  const verdict = await enter(handle, made.key);
  assert.ok(verdict.accepted);
  assert.ok(await resolveSession(database.db, verdict.login.sessionId, now), "and the session is good");
  assert.is((await enter(handle, made.key, later(-1))).accepted, false);
});

test("a process whose clock is ahead deletes no session and no failed login that count for others", async () => {
  const { id: platformId, handle, key } = await create("ahead");
  const lasting = await database.transaction((tx) => issueAccessKey(tx, system, { platformId }, { now, days: 800 }));
  const verdict = await enter(handle, key);
  await enter(handle, "guessed");
  const failures = await database.db.$count(loginFailures);
  const ahead = later(400 * 86_400);
  assert.ok((await enter(handle, lasting.key, ahead)).accepted);
  await enter(handle, "guessed", ahead);
  assert.ok(verdict.accepted && (await resolveSession(database.db, verdict.login.sessionId, now)));
  assert.is(await database.db.$count(loginFailures), failures + 2);
});

test("a name that failed to log in is counted, and not to be read or guessed from the database", async () => {
  const typed = "my password, in the wrong field";
  for (const secret of [context.secret, context.secret, randomBytes(32)]) {
    await database.transaction((tx) => logIn(tx, { username: typed, password: "x" }, { ...context, secret }));
  }
  const rows = await database.db.select().from(loginFailures).orderBy(loginFailures.id);
  const stored = rows.map(({ subject }) => subject).filter((subject) => subject.startsWith("account:"));
  const [first, second, other] = stored.slice(-3);
  assert.not.ok(JSON.stringify(rows).includes(typed));
  assert.is(first, second, "guesses at one name count together");
  assert.is.not(first, other, "under another secret it is another");
});

race("that is first is ended by it, and one that comes after is refused", async () => {
  const { id, handle, key } = await create("meets");
  let over = false;
  let suspended: Promise<void> | undefined;
  const verdict = await database.transaction(async (tx) => {
    const first = await logIn(tx, { username: handle, password: key }, context);
    suspended = suspend(id).then(() => {
      over = true;
    });
    await until("the suspension waits, or is over", async () => over || (await countWaiting()) > 0);
    return first;
  });
  await suspended;
  assert.ok(verdict.accepted);
  const [session] = await database.db.select().from(sessions).where(eq(sessions.id, verdict.login.sessionId));
  assert.ok(session?.endedAt);
  assert.is((await enter(handle, key)).accepted, false);
});

/** Transactions of this database that wait for another. */
async function countWaiting(): Promise<number> {
  const { rows } = (await database.db.execute(sql`
    select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`)) as unknown as {
    readonly rows: readonly unknown[];
  };
  return rows.length;
}

test.run();
race.run();
