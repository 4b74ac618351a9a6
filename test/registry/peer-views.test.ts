import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { mintUuid } from "../../src/protocol/ids.ts";
import { type Permission, permissions, platformRights } from "../../src/protocol/rights.ts";
import { type Caller, system } from "../../src/registry/caller.ts";
import { getPeer, listLanes, listPeers } from "../../src/registry/peer-views.ts";
import { type Database, openDatabase } from "../../src/storage/database.ts";
import { peers } from "../../src/storage/schema.ts";
import { freshDatabaseUrl } from "../harness/servers.ts";
import { suite } from "../harness/suite.ts";

/** Peers are seen by who manages them, whatever the route that asks. */
const test = suite("who sees peers");

const url = await freshDatabaseUrl();
const id = mintUuid();
let database: Database;
let dataDir: string;
test.before(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "concordat-peers-"));
  database = await openDatabase({ url, dataDir: join(dataDir, "database") });
  const policy = { platforms: "all", activities: "all", per_minute: null, per_day: null } as const;
  const row = { id, origin: "https://lyon.example", state: "approved", policy, createdAt: new Date() } as const;
  await database.db.insert(peers).values(row);
});
test.after(async () => {
  await database[Symbol.asyncDispose]();
  await rm(dataDir, { recursive: true });
});

const administrator = (...held: readonly Permission[]): Caller => ({
  kind: "administrator",
  id: mintUuid(),
  name: "admin",
  permissions: new Set(held),
  sessionId: mintUuid(),
});
const platform: Caller = {
  kind: "platform",
  id: mintUuid(),
  uri: "https://ouest.example/platforms/chu",
  handle: "chu",
  rights: new Set(platformRights),
  sessionId: mintUuid(),
};
/** How many peers each way of reading gives, or the code with which it refuses. */
const read = async (caller: Caller) => {
  const { db } = database;
  const readings = [
    listPeers(db, caller, { limit: 10 }).then(({ items }) => items.length),
    getPeer(db, caller, id).then(() => 1),
    listLanes(db, caller).then((lanes) => lanes.length),
  ];
  return await Promise.all(readings.map((reading) => reading.catch(({ code }) => code)));
};

test("the node and administrators who manage peers do, platforms and other administrators do not", async () => {
  for (const caller of [system, administrator("manage_peers")]) assert.equal(await read(caller), [1, 1, 1]);
  const others = permissions.filter((permission) => permission !== "manage_peers");
  for (const caller of [platform, administrator(...others)]) {
    assert.equal(await read(caller), Array(3).fill("right_missing"));
  }
});

test.run();
