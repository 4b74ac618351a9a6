import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { count, eq, sql } from "drizzle-orm";
import * as assert from "uvu/assert";
import { ConcordatError } from "../../src/errors.ts";
import { type Database, isUnavailable, isUniqueViolation, openDatabase, sqlState } from "../../src/storage/database.ts";
import { followRequests, journal, roles } from "../../src/storage/schema.ts";
import { freshDatabaseUrl, noPostgres } from "../harness/servers.ts";
import { type Suite, skipSuite, suite } from "../harness/suite.ts";

const url = await freshDatabaseUrl();
const directory = await mkdtemp(join(tmpdir(), "concordat-database-"));

describeDatabase(suite("database on PGlite"), { dataDir: directory });
describeDatabase(
  url === undefined ? skipSuite("database on PostgreSQL", noPostgres) : suite("database on PostgreSQL"),
  {
    url,
  },
);

/** What holds on both stores. */
function describeDatabase(
  test: Suite,
  options: { readonly url?: string | undefined; readonly dataDir?: string },
): void {
  let database: Database;
  test.before(async () => {
    database = await openDatabase(options);
  });
  test.after(async () => {
    await database[Symbol.asyncDispose]();
    await rm(directory, { recursive: true, force: true });
  });

  const addRole = (name: string, tx = database.db) =>
    tx.insert(roles).values({ id: randomUUID(), name, permissions: ["peers", 'a "quoted", one'] });
  const countRoles = async (name: string) => {
    const [row] = await database.db.select({ n: count() }).from(roles).where(eq(roles.name, name));
    return row?.n;
  };

  test("commits what a transaction did", async () => {
    const result = await database.transaction(async (tx) => {
      await addRole("committed", tx);
      return 7;
    });
    assert.is(result, 7);
    assert.is(await countRoles("committed"), 1);
  });

  test("rolls back when the transaction throws, and throws that on", async () => {
    const reason = new Error("no");
    const failed = database.transaction(async (tx) => {
      await addRole("rolled back", tx);
      throw reason;
    });
    assert.is(await failed.catch((error: unknown) => error), reason);
    assert.is(await countRoles("rolled back"), 0);
  });

  test("rolls back to where a transaction inside began", async () => {
    await database.transaction(async (tx) => {
      await addRole("outer", tx);
      await tx.transaction((inner) => Promise.all([addRole("inner", inner), addRole("outer", inner)])).catch(() => {});
    });
    assert.is(await countRoles("outer"), 1);
    assert.is(await countRoles("inner"), 0);
  });

  test("names the constraint of a unique violation", async () => {
    await addRole("twice");
    const error = await addRole("twice").then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    assert.is(sqlState(error), "23505");
    assert.is(isUniqueViolation(error), true);
    assert.is(isUniqueViolation(error, "roles_name_unique"), true);
    assert.is(isUniqueViolation(error, "roles_pkey"), false);
    assert.is(isUnavailable(error), false);
  });

  test("gives raw SQL the same types", async () => {
    const [row] = await database.db
      .select({
        int8: sql`7::int8`,
        negative: sql`${-(2 ** 40)}::int8`,
        big: sql`9223372036854775807`,
        count: sql`count(*)`,
        sum: sql`sum(7)`,
        bytes: sql`'\\x00ff10'::bytea`,
        boolean: sql`true`,
        json: sql`'{"b": [1, null]}'::json`,
        texts: sql`array['a', null, 'b "c"']`,
        uuid: sql`'0190A000-0000-7000-8000-000000000000'::uuid`,
        instant: sql`'2026-11-26T01:02:03.004+01'::timestamptz(3)`,
        date: sql`'2026-11-26'::date`,
        float: sql`0.5::float8`,
        none: sql`null::int8`,
      })
      .from(sql`(values (1)) as one`);
    assert.equal(row, {
      int8: 7,
      negative: -(2 ** 40),
      big: 9223372036854775807n,
      count: 1,
      sum: 7,
      bytes: Uint8Array.of(0, 255, 16),
      boolean: true,
      json: { b: [1, null] },
      texts: ["a", null, 'b "c"'],
      uuid: "0190a000-0000-7000-8000-000000000000",
      instant: "2026-11-26 00:02:03.004+00",
      date: "2026-11-26",
      float: 0.5,
      none: null,
    });
    assert.is(Object.getPrototypeOf(row?.bytes), Uint8Array.prototype);
  });

  test("gives back the values of columns as they were written", async () => {
    const arrivedAt = new Date("2026-11-26T01:02:03.004Z");
    const written = {
      id: "0190a000-0000-7000-8000-000000000000",
      origin: "https://ouest.example",
      method: "POST",
      target: "/inbox",
      headers: [["Date", "é\u0001"]] as const,
      body: Uint8Array.of(0, 1, 254, 255),
      address: "::1",
      invitationHash: null,
      arrivedAt,
    };
    await database.db.insert(followRequests).values(written);
    const rows = await database.db.select().from(followRequests).where(eq(followRequests.arrivedAt, arrivedAt));
    assert.equal(rows, [written]);
  });

  test("numbers rows by a bigserial as numbers", async () => {
    const row = { digest: "d", at: new Date(), action: "test", outcome: "ok", audience: [] } as const;
    const [inserted] = await database.db
      .insert(journal)
      .values({ ...row, audience: [] })
      .returning({ id: journal.id });
    assert.type(inserted?.id, "number");
  });

  test("lets timers run during a loop of queries", async () => {
    let ticks = 0;
    const timer = setInterval(() => {
      ticks += 1;
    }, 1);
    try {
      // Ends with the first tick; without one it would go on for ever, and the limit makes that a failure.
      for (let n = 0; n < 5_000 && ticks === 0; n += 1) await database.db.execute(sql`select 1`);
      assert.ok(ticks > 0);
    } finally {
      clearInterval(timer);
    }
  });

  test("lets timers run during a loop of queries in a transaction", async () => {
    let ticks = 0;
    const timer = setInterval(() => {
      ticks += 1;
    }, 1);
    try {
      await database.transaction(async (tx) => {
        for (let n = 0; n < 5_000 && ticks === 0; n += 1) await tx.execute(sql`select 1`);
      });
      assert.ok(ticks > 0);
    } finally {
      clearInterval(timer);
    }
  });

  test("refuses a schema newer than the program, naming both", async () => {
    await database.db.execute(
      sql`insert into drizzle.__drizzle_migrations (hash, created_at) values ('later', ${Date.parse("2999-01-01T00:00:00Z")})`,
    );
    await database[Symbol.asyncDispose]();
    try {
      await openDatabase(options);
      assert.unreachable("a newer schema was opened");
    } catch (error) {
      assert.instance(error, ConcordatError);
      assert.is((error as ConcordatError).code, "schema_newer");
      assert.match((error as ConcordatError).message, "2999-01-01T00:00:00.000Z");
    }
  });

  test.run();
}
