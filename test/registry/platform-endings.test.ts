import { eq, sql } from "drizzle-orm";
import * as assert from "uvu/assert";
import type { Project } from "../../src/protocol/objects.ts";
import { type JudgedShape, judgeShape, projectSchema } from "../../src/protocol/objects.ts";
import { type PlatformRight, platformRights } from "../../src/protocol/rights.ts";
import { type PlatformCaller, system } from "../../src/registry/caller.ts";
import { publishKeyBundle } from "../../src/registry/key-bundles.ts";
import { removePlatform } from "../../src/registry/platform-endings.ts";
import { createPlatform } from "../../src/registry/platforms.ts";
import { receiveProject } from "../../src/registry/project-copies.ts";
import { declareProject } from "../../src/registry/projects.ts";
import { type Database, openDatabase, type Tx } from "../../src/storage/database.ts";
import { objects } from "../../src/storage/schema.ts";
import { makePlatformKeys, type PlatformKeys, sealNext, sealProject } from "../harness/platform.ts";
import type { Json } from "../harness/rest.ts";
import { freshDatabaseUrl, noPostgres } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

/** A removal and what is under way while it happens: whichever is first, nothing of the platform is left. */
const url = await freshDatabaseUrl();
const test =
  url === undefined ? skipSuite("platforms removed meanwhile", noPostgres) : suite("platforms removed meanwhile");

const origin = "https://ouest.example";
const now = new Date();
let database: Database;
let hcl: PlatformKeys;

test.before(async () => {
  database = await openDatabase({ url });
  hcl = await makePlatformKeys("https://lyon.example/platforms/hcl");
});
test.after(async () => {
  await database[Symbol.asyncDispose]();
});

interface Joined {
  readonly caller: PlatformCaller;
  readonly keys: PlatformKeys;
}

const join = async (handle: string): Promise<Joined> => {
  const wanted = { name: handle, handle };
  const made = await database.transaction((tx) => createPlatform(tx, system, wanted, { origin, now, days: 1 }));
  const rights = new Set<PlatformRight>(platformRights);
  const caller = { kind: "platform", id: made.id, uri: made.uri, handle, rights, sessionId: "" } as const;
  const keys = await makePlatformKeys(made.uri);
  await database.transaction((tx) => publishKeyBundle(tx, caller, made.id, keys, now));
  return { caller, keys };
};
const judge = (object: Json): JudgedShape<Project> => judgeShape(projectSchema, object) as JudgedShape<Project>;
const declare = (tx: Tx, { caller }: Joined, object: Json) =>
  declareProject(tx, caller, judge(object), { origin, now });
const receive = (tx: Tx, object: Json) => receiveProject(tx, hcl.uri, judge(object), { protocol: 1, sentAt: now, now });
const remove = ({ caller }: Joined) => database.transaction((tx) => removePlatform(tx, system, caller.id, now));
const rowOf = async (object: Json) => {
  const [row] = await database.db
    .select()
    .from(objects)
    .where(eq(objects.uri, String(object.id)));
  assert.ok(row);
  return row;
};

/** Removes a platform while `write` is done and not yet committed; it must wait for that. */
async function removeDuring(platform: Joined, write: (tx: Tx) => Promise<unknown>): Promise<void> {
  let commit = () => {};
  const committing = new Promise<void>((resolve) => {
    commit = resolve;
  });
  let written = () => {};
  const writing = new Promise<void>((resolve) => {
    written = resolve;
  });
  const under = database.transaction(async (tx) => {
    await write(tx);
    written();
    await committing;
  });
  await Promise.race([writing, under]);
  const removal = remove(platform);
  try {
    const waits = sql`select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
    await until(
      "the removal waits",
      async () => {
        return ((await database.db.execute(waits)) as unknown as { rows: unknown[] }).rows.length > 0;
      },
      5_000,
    );
  } finally {
    commit();
    await Promise.allSettled([under, removal]);
  }
  await Promise.all([under, removal]);
}

test("a project that its owner is declaring is deleted with the rest", async () => {
  const owner = await join("owner");
  const object = await sealProject(owner.keys, { code: "M1" });
  await removeDuring(owner, (tx) => declare(tx, owner, object));
  const { deletedAt, object: ciphertext } = await rowOf(object);
  assert.ok(deletedAt);
  assert.is(ciphertext, null);
});

test("a platform that is gone declares nothing and publishes no keys, whatever it was allowed before", async () => {
  const owner = await join("gone");
  const object = await sealProject(owner.keys, { code: "M2" });
  await remove(owner);
  const { id } = owner.caller;
  for (const write of [
    (tx: Tx) => declare(tx, owner, object),
    (tx: Tx) => publishKeyBundle(tx, owner.caller, id, owner.keys, now),
  ]) {
    const error = await database.transaction<unknown>(write).catch((thrown: unknown) => thrown);
    assert.is((error as { code?: string }).code, "unauthenticated");
  }
});

test("a copy that is arriving for it alone goes", async () => {
  const grantee = await join("grantee");
  const object = await sealProject(hcl, { code: "M3", grants: [{ to: grantee.keys }] });
  await removeDuring(grantee, (tx) => receive(tx, object));
  assert.is((await rowOf(object)).object, null);
});

test("a copy stays whose newest revision, while it arrives, is for somebody else here", async () => {
  const grantee = await join("grantee-before");
  const heir = await join("grantee-after");
  const object = await sealProject(hcl, { code: "M4", grants: [{ to: grantee.keys }] });
  await database.transaction((tx) => receive(tx, object));
  const next = await sealNext(hcl, object, { grants: [{ to: heir.keys }] });
  await removeDuring(grantee, (tx) => receive(tx, next));
  assert.equal((await rowOf(object)).object, next);
});

test.run();
