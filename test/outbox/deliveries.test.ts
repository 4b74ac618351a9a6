import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { getDelivery, listDeliveries } from "../../src/outbox/deliveries.ts";
import { mintUuid } from "../../src/protocol/ids.ts";
import { type Caller, type PlatformCaller, system } from "../../src/registry/caller.ts";
import { type Database, openDatabase } from "../../src/storage/database.ts";
import { activities, deliveries, peers } from "../../src/storage/schema.ts";
import { suite } from "../harness/suite.ts";

/** Whose deliveries a caller reads. */
const test = suite("deliveries");

const origin = "https://ouest.example";
let root: string;
let database: Database;
test.before(async () => {
  root = await mkdtemp(join(tmpdir(), "concordat-deliveries-"));
  database = await openDatabase({ dataDir: root });
});
test.after(async () => {
  await database[Symbol.asyncDispose]();
  await rm(root, { recursive: true });
});

const platform = (handle: string): PlatformCaller => ({
  kind: "platform",
  id: mintUuid(),
  uri: `${origin}/platforms/${handle}`,
  handle,
  rights: new Set(),
  sessionId: "",
});

test("a platform reads those of what it sent itself, the node all of them", async () => {
  const createdAt = new Date();
  const peerId = mintUuid();
  const policy = { platforms: "all", activities: "all", per_minute: null, per_day: null } as const;
  await database.db
    .insert(peers)
    .values({ id: peerId, origin: "https://lyon.example", state: "approved", policy, createdAt });
  const [mine, others] = [platform("mine"), platform("others")];
  const send = async ({ uri: actor }: PlatformCaller): Promise<string> => {
    const id = mintUuid();
    const activityId = `${origin}/activities/${id}`;
    await database.db.insert(activities).values({ id: activityId, type: "Create", actor, digest: "", createdAt });
    const times = { nextAttemptAt: createdAt, createdAt };
    await database.db
      .insert(deliveries)
      .values({ id, activityId, peerId, inbox: "", recipients: [], state: "queued", ...times });
    return id;
  };
  const sent = [await send(others), await send(mine)] as const;
  const list = async (caller: Caller) =>
    (await listDeliveries(database.db, caller, { limit: 10 })).items.map(({ id }) => id);
  assert.equal(await list(system), [sent[1], sent[0]]);
  assert.equal(await list(mine), [sent[1]]);
  assert.is((await getDelivery(database.db, mine, sent[1])).id, sent[1]);
  const refused = await getDelivery(database.db, mine, sent[0]).catch((error: unknown) => error);
  assert.is((refused as { readonly code?: unknown }).code, "not_found");
});

test.run();
