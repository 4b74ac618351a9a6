import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { generateDrizzleJson, generateMigration } from "drizzle-kit/api";
import { sql } from "drizzle-orm";
import pg from "pg";
import * as assert from "uvu/assert";
import { openDatabase } from "../../src/storage/database.ts";
import { packageRoot } from "../../src/storage/package-root.ts";
import * as schema from "../../src/storage/schema.ts";
import { freshDatabaseUrl, noPostgres } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";

const agreement = suite("migrations and schema");

agreement("agree: nothing is left to generate", async () => {
  const folder = join(packageRoot, "migrations", "meta");
  const newest =
    (await readdir(folder))
      .filter((name) => name.endsWith("_snapshot.json"))
      .sort()
      .at(-1) ?? "";
  const before = JSON.parse(await readFile(join(folder, newest), "utf8"));
  assert.equal(await generateMigration(before, generateDrizzleJson(schema)), []);
});

agreement("would show a table that no migration makes", async () => {
  const empty = generateDrizzleJson({});
  const statements = await generateMigration(empty, generateDrizzleJson({ roles: schema.roles }));
  assert.match(statements.join("\n"), /CREATE TABLE "roles"/);
});

agreement.run();

const url = await freshDatabaseUrl();
const onPostgres = url === undefined ? skipSuite("migrating PostgreSQL", noPostgres) : suite("migrating PostgreSQL");

onPostgres("migrates once when processes start together", async () => {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query("drop schema drizzle cascade; drop schema public cascade; create schema public");
  await client.end();

  const databases = await Promise.all([1, 2, 3].map(() => openDatabase({ url })));
  try {
    const applied = await databases[0]?.db
      .select({ n: sql<number>`count(*)`, different: sql<number>`count(distinct created_at)` })
      .from(sql`drizzle.__drizzle_migrations`);
    assert.is.not(applied?.[0]?.n, 0);
    assert.is(applied?.[0]?.n, applied?.[0]?.different);
  } finally {
    for (const database of databases) await database[Symbol.asyncDispose]();
  }
});

onPostgres.run();
