/** What the database does by itself: commits of 1 KiB each, durably, one after the other on each connection. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "drizzle-orm";
import { type Database, openDatabase } from "../src/storage/database.ts";
import { freshDatabaseUrl } from "../test/harness/servers.ts";
import type { Profile } from "./figure.ts";

const kibibyte = "x".repeat(1024);

/** Commits a second, over as many connections as a node has. */
export async function measureCommits(profile: Profile, n: number): Promise<number> {
  const dataDir = await mkdtemp(join(tmpdir(), "concordat-commits-"));
  try {
    const url = profile === "server" ? await freshDatabaseUrl() : undefined;
    await using database = await openDatabase({ url, dataDir });
    await database.db.execute(sql`create table commits (id bigserial primary key, body text not null)`);
    await commit(database, n / 10);
    const start = performance.now();
    await commit(database, n);
    return n / ((performance.now() - start) / 1000);
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
}

const connections = 10;

async function commit({ db }: Database, n: number): Promise<void> {
  let left = n;
  await Promise.all(
    Array.from({ length: connections }, async () => {
      while (left-- > 0) await db.execute(sql`insert into commits (body) values (${kibibyte})`);
    }),
  );
}
