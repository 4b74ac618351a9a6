import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eq } from "drizzle-orm";
import * as assert from "uvu/assert";
import { Problem } from "../../src/errors.ts";
import { changeOnce, type Once } from "../../src/registry/idempotency.ts";
import { type Database, openDatabase, type Tx } from "../../src/storage/database.ts";
import { entityTypes, idempotencyKeys } from "../../src/storage/schema.ts";
import { freshDatabaseUrl, noPostgres } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";
import { pause } from "../harness/until.ts";

const test = suite("a change made once");
// PGlite has one session; only on PostgreSQL two requests really meet.
const url = await freshDatabaseUrl();
const race = url === undefined ? skipSuite("requests that meet", noPostgres) : suite("requests that meet");

const now = new Date("2026-11-26T08:00:00.000Z");
const later = (days: number) => new Date(now.getTime() + days * 86_400_000);
const secret = "k7Qm-access-key-shown-once";

let root = "";
let database: Database;
test.before(async () => {
  root = await mkdtemp(join(tmpdir(), "concordat-once-"));
  database = await openDatabase({ dataDir: root });
});
test.after(async () => {
  await database[Symbol.asyncDispose]();
  await rm(root, { recursive: true });
});
test.before.each(async () => {
  await database.db.delete(idempotencyKeys);
  await database.db.delete(entityTypes);
});

const request: Once = { caller: "platform:1", key: "a-key-of-the-caller", requestDigest: "digest-of-the-request" };

let ids = 0;
/** A change with an effect that can be counted. */
async function insertRow(tx: Tx): Promise<{ id: string; secret: string }> {
  ids += 1;
  const id = `00000000-0000-7000-8000-${String(ids).padStart(12, "0")}`;
  await tx.insert(entityTypes).values({ id, name: id, createdAt: now });
  return { id, secret };
}

/** Each in a transaction of its own, as requests are. */
const change = (once: Once | undefined, at = now) =>
  database.transaction((tx) => changeOnce(tx, once, at, () => insertRow(tx)));

const rows = async () => (await database.db.select().from(entityTypes)).length;
const keys = async () => await database.db.select().from(idempotencyKeys);

async function codeOf(act: Promise<unknown>): Promise<string> {
  try {
    await act;
  } catch (error) {
    if (error instanceof Problem) return error.code;
    throw error;
  }
  return "made";
}

test("gives a repeated request what it gave before, and makes the change no second time", async () => {
  const first = await change(request);
  assert.equal(await change(request), first);
  assert.equal(await change(request, later(1)), first);
  assert.is(await rows(), 1);
});

test("makes every change that carries no key", async () => {
  assert.not.equal(await change(undefined), await change(undefined));
  assert.is(await rows(), 2);
  assert.equal(await keys(), []);
});

test("refuses the key with another request, and changes nothing", async () => {
  const first = await change(request);
  assert.is(await codeOf(change({ ...request, requestDigest: "another" })), "idempotency_conflict");
  assert.is(await rows(), 1);
  assert.equal(await change(request), first, "the first answer stands");
});

test("takes the same key of another caller, and another key of the same, for other requests", async () => {
  const first = await change(request);
  assert.not.equal(await change({ ...request, caller: "platform:2" }), first);
  assert.not.equal(await change({ ...request, key: "another-key" }), first);
  assert.is(await rows(), 3);
});

test("remembers nothing of a change that failed: the request may be tried again", async () => {
  const failing = database.transaction((tx) =>
    changeOnce(tx, request, now, async () => {
      await insertRow(tx);
      throw new Problem("id_taken");
    }),
  );
  assert.is(await codeOf(failing), "id_taken");
  assert.is(await rows(), 0);
  assert.equal(await keys(), []);
  assert.is(await codeOf(change(request)), "made");
  assert.is(await rows(), 1);
});

test("gives back every kind of answer, nothing among them", async () => {
  const answers = [null, 0, "", "é\u0000", [], { nested: { list: [1, null] } }];
  for (const [at, answer] of answers.entries()) {
    const once = { ...request, key: `kind-${at}` };
    const ask = () => database.transaction((tx) => changeOnce(tx, once, now, async () => answer));
    assert.equal(await ask(), answer);
    assert.equal(await ask(), answer);
  }
});

test("stores neither the key nor what it gave in a readable form", async () => {
  await change(request);
  const [row] = await keys();
  const stored = JSON.stringify(row) + Buffer.from(row?.answer ?? "", "base64url").toString("latin1");
  for (const hidden of [request.key, secret, Buffer.from(secret).toString("base64url")]) {
    assert.not.ok(stored.includes(hidden), hidden);
  }
});

test("stores the same answer differently each time", async () => {
  const store = async (key: string) => {
    await database.transaction((tx) => changeOnce(tx, { ...request, key }, now, async () => "same"));
    return (await keys()).map((row) => row.answer);
  };
  await store("one");
  const [one, two] = await store("two");
  assert.is.not(one, two);
});

test("gives no answer that was changed in the database", async () => {
  await change(request);
  const [row] = await keys();
  const octets = Buffer.from(row?.answer ?? "", "base64url");
  octets[octets.length - 1] = (octets.at(-1) ?? 0) ^ 1;
  await database.db
    .update(idempotencyKeys)
    .set({ answer: octets.toString("base64url") })
    .where(eq(idempotencyKeys.caller, request.caller));
  let given: unknown;
  let failure: unknown;
  try {
    given = await change(request);
  } catch (error) {
    failure = error;
  }
  assert.is(given, undefined);
  assert.instance(failure, Error);
  assert.is(await rows(), 1);
});

race("make one change, and all get what it gave", async () => {
  await using postgres = await openDatabase({ url });
  const made: string[] = [];
  const ask = (requestDigest: string) =>
    postgres.transaction((tx) =>
      changeOnce(tx, { ...request, requestDigest }, now, async () => {
        made.push((await insertRow(tx)).id);
        // The others reach the database while this transaction is open.
        await pause(200);
        return made.at(-1);
      }),
    );
  const same = Array.from({ length: 5 }, () => ask(request.requestDigest));
  const answers = await Promise.all(same);
  assert.is(made.length, 1);
  assert.equal(new Set(answers), new Set(made));
  assert.is((await postgres.db.select().from(entityTypes)).length, 1);
  assert.is(await codeOf(ask("another")), "idempotency_conflict");
});

race("let the next one make the change when the first fails", async () => {
  await using postgres = await openDatabase({ url });
  const once = { ...request, key: "of a failing request" };
  const first = postgres.transaction((tx) =>
    changeOnce(tx, once, now, async () => {
      await pause(200);
      throw new Problem("id_taken");
    }),
  );
  await pause(50);
  const second = postgres.transaction((tx) => changeOnce(tx, once, now, async () => "made by the second"));
  assert.is(await codeOf(first), "id_taken");
  assert.is(await second, "made by the second");
});

test.run();
race.run();
