import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import fs from "node:fs";
import { mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { eq, sql } from "drizzle-orm";
import * as assert from "uvu/assert";
import { ConcordatError } from "../../src/errors.ts";
import { isUnavailable, openDatabase } from "../../src/storage/database.ts";
import { openPglite } from "../../src/storage/pglite.ts";
import { roles } from "../../src/storage/schema.ts";
import { suite } from "../harness/suite.ts";

const test = suite("PGlite on disk");

let root = "";
test.before(async () => {
  root = await mkdtemp(join(tmpdir(), "concordat-pglite-"));
});
test.after(() => rm(root, { recursive: true }));

const children: ChildProcess[] = [];
test.after(() => {
  for (const child of children) child.kill("SIGKILL");
});

/** A process that opens the directory and commits for ever; its lines come one by one. */
function hold(dataDir: string) {
  const program = fileURLToPath(new URL("./hold-database.js", import.meta.url));
  const child = spawn(process.execPath, [program, dataDir], { stdio: ["ignore", "pipe", "inherit"] });
  children.push(child);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    line: async (): Promise<string> => (await lines.next()).value ?? "",
    async kill(): Promise<string[]> {
      child.kill("SIGKILL");
      const rest: string[] = [];
      for (let next = await lines.next(); !next.done; next = await lines.next()) rest.push(next.value);
      if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
      return rest;
    },
  };
}

test("keeps every acknowledged commit, and no half of one, over a SIGKILL", async () => {
  const dataDir = join(root, "killed");
  const acknowledged: string[] = [];
  for (const commits of [40, 3]) {
    const holder = hold(dataDir);
    assert.is(await holder.line(), "open");
    for (let n = 0; n < commits; n += 1) acknowledged.push(await holder.line());
    acknowledged.push(...(await holder.kill()));
  }

  await using database = await openDatabase({ dataDir });
  const names = new Set((await database.db.select({ name: roles.name }).from(roles)).map(({ name }) => name));
  const lost = acknowledged.filter((id) => !names.has(`a ${id}`) || !names.has(`b ${id}`));
  assert.equal(lost, []);
  assert.is(names.size % 2, 0);
});

test("keeps its directory from a second process and from others of this machine", async () => {
  const dataDir = join(root, "killed");
  await using first = await openDatabase({ dataDir });
  assert.is((await stat(dataDir)).mode & 0o777, 0o700);

  const answer = await hold(dataDir).line();
  assert.match(answer, /^failed data_directory_in_use /);
  assert.match(answer, dataDir);

  const error = await openDatabase({ dataDir }).catch((thrown: unknown) => thrown);
  assert.instance(error, ConcordatError);
  assert.is((error as ConcordatError).code, "data_directory_in_use");
  await first.db.execute(sql`select 1`);
});

test("refuses writes as unavailable while the disk has less left than the reserve, and still reads", async () => {
  const database = await openPglite(join(root, "killed"), { reserve: Number.MAX_SAFE_INTEGER });
  try {
    const role = { id: randomUUID(), name: "too much", permissions: [] };
    for (const write of [
      () => database.transaction((tx) => tx.insert(roles).values(role)),
      () => database.db.insert(roles).values(role),
    ]) {
      const error = await write().then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      assert.is(isUnavailable(error), true);
    }
    assert.equal(await database.db.select().from(roles).where(eq(roles.name, "too much")), []);
  } finally {
    await database.close();
  }
});

test("flushes: fsync is on, by a method that reaches the disk", async () => {
  await using database = await openDatabase({ dataDir: join(root, "killed") });
  const [settings] = await database.db
    .select({ fsync: sql`current_setting('fsync')`, method: sql`current_setting('wal_sync_method')` })
    .from(sql`(values (1)) as one`);
  assert.equal(settings, { fsync: "on", method: "fsync" });
});

test("has flushed each commit to the disk by the time that it is acknowledged", async () => {
  await using database = await openDatabase({ dataDir: join(root, "flushed") });
  const { fsyncSync } = fs;
  let flushes = 0;
  fs.fsyncSync = (file) => {
    flushes += 1;
    fsyncSync(file);
  };
  syncBuiltinESMExports();
  try {
    for (let at = 0; at < 5; at += 1) {
      const before = flushes;
      await database.transaction((tx) =>
        tx.insert(roles).values({ id: randomUUID(), name: `flushed ${at}`, permissions: [] }),
      );
      assert.ok(flushes > before, `commit ${at}`);
    }
    const before = flushes;
    await database.db.select().from(roles);
    assert.is(flushes, before, "a read flushes nothing");
  } finally {
    fs.fsyncSync = fsyncSync;
    syncBuiltinESMExports();
  }
});

test("starts after a first start that was killed while it unpacked the seed", async () => {
  const dataDir = join(root, "interrupted");
  const first = hold(dataDir);
  // Killed as soon as files appear beside the cluster's place.
  for (;;) {
    const files = await readdir(join(dataDir, "cluster.new")).catch(() => []);
    if (files.length > 2) break;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  assert.equal(await first.kill(), []);
  assert.equal(await readdir(dataDir).then((names) => names.includes("cluster")), false);
  await writeFile(join(dataDir, "cluster.new", "left-behind"), "");

  const second = hold(dataDir);
  assert.is(await second.line(), "open");
  await second.line();
  await second.kill();
  const names = await readdir(dataDir);
  assert.equal(names.sort(), ["cluster", "lock"]);
  assert.not((await readdir(join(dataDir, "cluster"))).includes("left-behind"));
});

test.run();
