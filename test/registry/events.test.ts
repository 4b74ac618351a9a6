import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { mintUuid } from "../../src/protocol/ids.ts";
import type { Permission, PlatformRight } from "../../src/protocol/rights.ts";
import { listEvents } from "../../src/registry/events.ts";
import { administrators, recordEffects } from "../../src/registry/journal.ts";
import { sequenceJournal } from "../../src/registry/sequencer.ts";
import { type Database, openDatabase } from "../../src/storage/database.ts";
import { freshDatabaseUrl } from "../harness/servers.ts";
import { suite } from "../harness/suite.ts";

/** Who is told what: an event needs the right that its routes need. */
const test = suite("events by right");

const uri = "https://ouest.example/platforms/chu";
const url = await freshDatabaseUrl();
let database: Database;
let dataDir: string;
test.before(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "concordat-events-"));
  database = await openDatabase({ url, dataDir: join(dataDir, "database") });
  const at = new Date();
  for (const action of ["peer.approved", "platform.created", "delivery.dead", "bundle.changed", "unheard.of"]) {
    await recordEffects(database.db, { at, actor: "node", action, audience: [administrators, uri] });
  }
  await recordEffects(database.db, { at, actor: "node", action: "project.shared", audience: [uri] });
  await sequenceJournal(database);
});
test.after(async () => {
  await database[Symbol.asyncDispose]();
  await rm(dataDir, { recursive: true });
});

const common = { id: mintUuid(), sessionId: mintUuid() };
const toAdministrator = (...permissions: Permission[]) =>
  typesFor({ ...common, kind: "administrator", name: "admin", permissions: new Set(permissions) });
const toPlatform = (...rights: PlatformRight[]) =>
  typesFor({ ...common, kind: "platform", uri, handle: "chu", rights: new Set(rights) });
const typesFor = async (caller: Parameters<typeof listEvents>[1]) =>
  (await listEvents(database.db, caller, { after: 0, limit: 100 })).map(({ type }) => type);

test("an administrator is told what a permission of theirs is for", async () => {
  assert.equal(await toAdministrator(), []);
  assert.equal(await toAdministrator("manage_peers"), ["peer.approved"]);
  assert.equal(await toAdministrator("manage_platforms"), ["platform.created", "bundle.changed"]);
  assert.equal(await toAdministrator("manage_deliveries", "read_audit"), ["delivery.dead"]);
});

test("a platform without the right to read projects is told of none", async () => {
  const always = ["platform.created", "delivery.dead", "bundle.changed"];
  assert.equal(await toPlatform(), always);
  assert.equal(await toPlatform("projects:read"), [...always, "project.shared"]);
});

test.run();
