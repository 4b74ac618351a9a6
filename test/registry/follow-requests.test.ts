import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eq } from "drizzle-orm";
import * as assert from "uvu/assert";
import { limits } from "../../src/protocol/limits.ts";
import { system } from "../../src/registry/caller.ts";
import { findPeer, listFollows, storeFollow } from "../../src/registry/peers.ts";
import { type Database, openDatabase } from "../../src/storage/database.ts";
import { followRequests, peers } from "../../src/storage/schema.ts";
import { freshDatabaseUrl } from "../harness/servers.ts";
import { suite } from "../harness/suite.ts";

/** Strangers who ask to become peers: few of them are kept, and none pushes out what the administrator looks at. */
const url = await freshDatabaseUrl();
const test = suite("requests of strangers");

let database: Database;
let dataDir: string;
test.before(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "concordat-follows-"));
  database = await openDatabase({ url, dataDir: join(dataDir, "database") });
});
test.after(async () => {
  await database[Symbol.asyncDispose]();
  await rm(dataDir, { recursive: true });
});
test.before.each(async () => {
  await database.db.delete(followRequests);
  await database.db.delete(peers);
});

let seconds = 0;
const ask = (origin: string) => {
  seconds += 1;
  const arrivedAt = new Date(Date.UTC(2026, 0, 1) + seconds * 1000);
  const body = new TextEncoder().encode(`Follow ${seconds}`);
  const request = { origin, method: "POST", target: "/inbox", headers: [], body, address: "192.0.2.1", arrivedAt };
  return database.transaction((tx) => storeFollow(tx, system, { ...request, invitationHash: null }));
};
const flood = async () => {
  for (let at = 0; at < limits.follows + 20; at += 1) await ask(`https://stranger-${at}.example`);
};

test("the newest of an origin are kept", async () => {
  for (let at = 0; at < limits.followsPerOrigin + 2; at += 1) await ask("https://lyon.example");
  const kept = await listFollows(database.db, "https://lyon.example");
  assert.is(kept.length, limits.followsPerOrigin);
  assert.equal(new TextDecoder().decode(kept[0]?.body), `Follow ${seconds}`);
});

test("the newest of all are kept; who was pushed out unseen is forgotten", async () => {
  await ask("https://lyon.example");
  await flood();
  assert.is((await database.db.select().from(followRequests)).length, limits.follows);
  assert.equal(await listFollows(database.db, "https://lyon.example"), []);
  assert.is(await findPeer(database.db, "https://lyon.example"), undefined);
});

test("what the administrator has opened stays, whoever floods", async () => {
  await ask("https://lyon.example");
  await database.db.update(peers).set({ openedAt: new Date() }).where(eq(peers.origin, "https://lyon.example"));
  await flood();
  assert.is((await listFollows(database.db, "https://lyon.example")).length, 1);
  assert.is((await findPeer(database.db, "https://lyon.example"))?.state, "pending_in");
});

test.run();
