import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eq } from "drizzle-orm";
import * as assert from "uvu/assert";
import { type Permission, permissions, platformRights } from "../../src/protocol/rights.ts";
import { type Caller, system } from "../../src/registry/caller.ts";
import { listAudit, recordEffects, recordRefusal, verifyJournal } from "../../src/registry/journal.ts";
import { sequenceJournal } from "../../src/registry/sequencer.ts";
import { type Database, openDatabase } from "../../src/storage/database.ts";
import { journal } from "../../src/storage/schema.ts";
import { freshDatabaseUrl } from "../harness/servers.ts";
import { suite } from "../harness/suite.ts";

/** The chain of the journal: what it proves, and what may be erased from it (docs/decisions). */
const url = await freshDatabaseUrl();
const test = suite("journal");

let database: Database;
let dataDir: string;
test.before(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "concordat-journal-"));
  database = await openDatabase({ url, dataDir: join(dataDir, "database") });
});
test.after(async () => {
  await database[Symbol.asyncDispose]();
  await rm(dataDir, { recursive: true });
});
test.before.each(async () => {
  await database.db.delete(journal);
});

const entry = (count: number) => ({
  at: new Date(1_790_000_000_000 + count),
  actor: "admin",
  action: "platform.created",
  object: `https://ouest.example/platforms/p${count}`,
});
const record = (count: number) => database.transaction((tx) => recordEffects(tx, entry(count)));
const recordMany = async (count: number) => {
  for (let made = 0; made < count; made += 1) await record(made);
};

test("what is read is numbered from 1 without a gap, and the chain verifies", async () => {
  await recordMany(4);
  await recordRefusal(database.db, "not_owner", entry(5));
  const verdict = await verifyJournal(database, system);
  assert.is(verdict.verified, true);
  const entries = await listAudit(database, system, { limit: 10 });
  assert.equal(
    entries.map(({ seq }) => seq),
    [5, 4, 3, 2, 1],
  );
  assert.is(entries[0]?.outcome, "refused");
  assert.is(entries[0]?.code, "not_owner");
  for (const [at, { prev }] of entries.entries()) assert.is(prev, entries[at + 1]?.hash ?? "");
  assert.is(verdict.verified && verdict.head, entries[0]?.hash);
});

test("is read and verified by administrators with read_audit, and by nobody else", async () => {
  await record(1);
  const administrator = (permissions: readonly Permission[]): Caller => ({
    ...{ kind: "administrator", id: "", name: "", sessionId: "" },
    permissions: new Set(permissions),
  });
  const platform: Caller = {
    kind: "platform",
    id: "",
    uri: "",
    handle: "",
    sessionId: "",
    rights: new Set(platformRights),
  };
  for (const caller of [platform, administrator(permissions.filter((one) => one !== "read_audit"))]) {
    for (const read of [() => listAudit(database, caller, { limit: 1 }), () => verifyJournal(database, caller)]) {
      const refusal = await read().then(
        () => null,
        ({ code }: { code: unknown }) => code,
      );
      assert.is(refusal, "right_missing");
    }
  }
  const auditor = administrator(["read_audit"]);
  assert.is((await listAudit(database, auditor, { limit: 1 })).length, 1);
  assert.is((await verifyJournal(database, auditor)).verified, true);
});

test("a rolled back transaction leaves no number and no gap", async () => {
  await record(1);
  await database
    .transaction(async (tx) => {
      await recordEffects(tx, entry(2));
      throw new Error("rolled back");
    })
    .catch(() => undefined);
  await record(3);
  assert.equal(
    (await listAudit(database, system, { limit: 10 })).map(({ seq, object }) => [seq, object?.slice(-2)]),
    [
      [2, "p3"],
      [1, "p1"],
    ],
  );
});

test("several sequencers at once number every row once", async () => {
  await Promise.all(Array.from({ length: 20 }, (_, count) => record(count)));
  await Promise.all([1, 2, 3].map(() => sequenceJournal(database)));
  assert.equal(await verifyJournal(database, system).then(({ verified }) => verified), true);
  assert.is((await listAudit(database, system, { limit: 50 })).length, 20);
});

for (const [name, change, reason] of [
  ["content", { actor: "somebody else" }, "content"],
  ["time", { at: new Date(0) }, "content"],
  ["code", { code: "right_missing" }, "content"],
  ["digest", { digest: "A".repeat(43) }, "chain"],
  ["hash", { hash: "A".repeat(43) }, "chain"],
] as const) {
  test(`a changed ${name} is found, and where`, async () => {
    await recordMany(5);
    await sequenceJournal(database);
    await database.db.update(journal).set(change).where(eq(journal.seq, 3));
    assert.equal(await verifyJournal(database, system), { verified: false, seq: 3, reason });
  });
}

test("a row that was taken out is found", async () => {
  await recordMany(5);
  await sequenceJournal(database);
  await database.db.delete(journal).where(eq(journal.seq, 3));
  assert.equal(await verifyJournal(database, system), { verified: false, seq: 3, reason: "gap" });
});

test("content that was erased together with its salt leaves a chain that verifies, and is counted", async () => {
  await recordMany(5);
  const before = await verifyJournal(database, system);
  const erased = { salt: null, actor: null, object: null, address: null, data: null };
  await database.db.update(journal).set(erased).where(eq(journal.seq, 3));
  assert.is(before.verified && before.erased, 0);
  assert.equal(await verifyJournal(database, system), { ...before, erased: 1 });
});

test.run();
