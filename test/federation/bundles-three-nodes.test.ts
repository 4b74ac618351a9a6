// time limit: 240 s
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { levelStore } from "../../src/cli/vault-access.ts";
import { createKeyBundle } from "../../src/crypto/key-bundle.ts";
import { generateEncryptionKeys, generateIdentityKeys, type KeyPair } from "../../src/crypto/keys.ts";
import { createMembership } from "../../src/crypto/membership.ts";
import type { JsonObject } from "../../src/protocol/objects.ts";
import {
  type Client,
  confirmFingerprint,
  createClient,
  createVault,
  declareProject,
  describeOwnKeys,
  editProject,
  findProject,
  findRecipient,
  joinInstance,
  learnKeys,
  type Membership,
  type OpenedProject,
  openProject,
  type ProjectChange,
  publishKeys,
  readOwnKeys,
  recallKeys,
  shareProject,
} from "../../src/sdk/index.ts";
import { findPeer, makePeers, startNode, type TestNode } from "../harness/node.ts";
import { suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

/**
 * South and north are peers of west and not of each other: what their platforms know of each other's keys came beside
 * the snapshots of a project of the west, and their vaults judge it for themselves.
 */
const test = suite("bundles between three nodes, two of which are no peers");

const code = "B-1";
const year = 365 * 86_400;
let directory: string;
let nodes: readonly TestNode[];
let west: TestNode;
let south: TestNode;
let north: TestNode;
let ouest: Person;
let sud: Person;
let nord: Person;

/** A platform with a vault of its own, that does everything with the SDK. */
interface Person {
  readonly client: Client;
  readonly membership: Membership;
}

test.before(async () => {
  directory = await mkdtemp(join(tmpdir(), "concordat-bundles-"));
  nodes = await Promise.all([startNode(), startNode(), startNode()]);
  [west, south, north] = nodes as [TestNode, TestNode, TestNode];
  await makePeers(west, south);
  await makePeers(west, north);
  ouest = await joinNode(west, "ouest");
  sud = await joinNode(south, "sud");
  nord = await joinNode(north, "nord");
});
test.after(async () => {
  await Promise.all(nodes.map((node) => node[Symbol.asyncDispose]()));
  await rm(directory, { recursive: true });
});

async function joinNode(node: TestNode, handle: string): Promise<Person> {
  const created = await node.admin.ok("POST", "/platforms", { name: handle, handle, access_key: { label: "test" } });
  const [issued] = created.access_keys as { key: string }[];
  const vault = await createVault(levelStore(join(directory, handle)), "a passphrase of the test", 1_000);
  const client = createClient({ vault, fetch, clock: () => new Date() });
  await joinInstance(client, { origin: node.origin, handle, accessKey: String(issued?.key) });
  return { client, membership: (await client.vault.read()).memberships[0] as Membership };
}

const idAt = async ({ client }: Person) => (await findProject(client, code)).project.id;
const open = async (person: Person) => await openProject(person.client, person.membership, await idAt(person));
const edit = async (person: Person, change: ProjectChange) =>
  await editProject(person.client, person.membership, await idAt(person), change);
const untilOpened = (person: Person, revision: number): Promise<OpenedProject> =>
  until(`${person.membership.handle} opens revision ${revision}`, async () => {
    const opened = await open(person);
    return opened.project.revision === revision ? opened : null;
  });
const share = async ({ membership }: Person) => {
  const address = { handle: membership.handle, host: new URL(membership.origin).host };
  const { recipient } = await until(`${membership.actor} is known`, () => findRecipient(ouest.client, address));
  await shareProject(ouest.client, ouest.membership, await idAt(ouest), { platform: recipient, mode: "editable" });
};
const fingerprintOf = async ({ client }: Person) => describeOwnKeys(await client.vault.read()).fingerprint;
const kidsOf = (sealed: JsonObject) =>
  (sealed["hf:sealed"] as { recipients: { header: { kid: string } }[] }).recipients.map(({ header }) => header.kid);
const kidOf = async ({ client }: Person) => readOwnKeys(await client.vault.read()).encryption.kid;

/** Publishes the next bundle of a vault, with another encryption key, and another identity where one is given. */
async function rotate({ client, membership }: Person, next?: KeyPair): Promise<void> {
  const now = Math.floor(Date.now() / 1000);
  const createdAt = new Date().toISOString();
  const encryption = await generateEncryptionKeys();
  const state = await client.vault.read();
  const own = readOwnKeys(state);
  const identity = next ?? own.identity;
  const bundle = await createKeyBundle({
    previous: own.bundle,
    ...(next === undefined ? {} : { previousIdentity: own.identity }),
    identity,
    encryption,
    recovery: null,
    now,
    lifetime: year,
  });
  const word = await createMembership({ actor: membership.actor, identity, now, lifetime: year });
  const updated = { ...membership, membership: word };
  await client.vault.update((before) => ({
    ...before,
    identity: { ...identity, createdAt },
    retiredIdentities: next === undefined ? before.retiredIdentities : [...before.retiredIdentities, own.identity],
    encryption: [...before.encryption, { ...encryption, createdAt }],
    bundles: [...before.bundles, { bundle, byRecovery: false }],
    memberships: [updated],
  }));
  await publishKeys(client, updated);
}

/** The bundle of the south's platform that a node gives to `person`, who reads it for itself. */
const seqKnownTo = async (person: Person): Promise<number> => {
  const { project } = await findProject(person.client, code);
  const id = project.grants.find(({ platform }) => platform === sud.membership.actor)?.platform_id ?? "";
  return (await learnKeys(person.client, person.membership, { id, uri: sud.membership.actor })).seq;
};

test("a grantee opens, seals and verifies with keys of a platform whose node is no peer of its own", async () => {
  await declareProject(ouest.client, ouest.membership, { code, name: "First", sealed: { by: "ouest" } });
  await share(sud);
  await share(nord);
  assert.equal((await untilOpened(nord, 3)).content, { by: "ouest" });
  await untilOpened(sud, 3);
  assert.is(await findPeer(south, north.origin), undefined);
  assert.is(await findPeer(north, south.origin), undefined);

  assert.is((await edit(sud, { sealed: { by: "sud" } })).applied, false);
  const opened = await untilOpened(nord, 4);
  assert.equal(opened.content, { by: "sud" });
  assert.is(opened.sealed_by.actor, sud.membership.actor);
  assert.is(opened.sealed_by.fingerprint, await fingerprintOf(sud));
  assert.equal(kidsOf(opened.object).sort(), [await kidOf(ouest), await kidOf(sud), await kidOf(nord)].sort());
  await confirmFingerprint(nord.client, sud.membership.actor, await fingerprintOf(sud));
});

test("a rotated key travels to the third node beside the next snapshot, and not before", async () => {
  await rotate(sud);
  await until("the owner's node knows", async () => (await seqKnownTo(ouest)) === 2);
  assert.is(await seqKnownTo(nord), 1);

  await edit(nord, { sealed: { by: "nord, for the old key" } });
  const dead = await until("what is sealed for the old key is refused", async () => {
    return (await north.admin.list("/deliveries?state=dead"))[0];
  });
  assert.equal(dead.last_error && { ...(dead.last_error as JsonObject), at: null }, {
    status: 409,
    code: "recipients_stale",
    at: null,
  });

  await edit(ouest, { name: "Sealed for the new key" });
  await untilOpened(nord, 5);
  assert.is(await seqKnownTo(nord), 2);
  await edit(nord, { sealed: { by: "nord" } });
  const opened = await untilOpened(sud, 6);
  assert.equal(opened.content, { by: "nord" });
  assert.ok(kidsOf(opened.object).includes(await kidOf(sud)));
  assert.is((await recallKeys(nord.client, sud.membership.actor))?.status, "verified", "the identity is the same");
});

test("so does another identity: what it seals is verified by its chain, and is to be compared again", async () => {
  await rotate(sud, await generateIdentityKeys());
  await until("the owner's node knows", async () => (await seqKnownTo(ouest)) === 3);
  await edit(ouest, { name: "Sealed for the new identity" });
  await untilOpened(sud, 7);
  await edit(sud, { sealed: { by: "sud, anew" } });
  const opened = await untilOpened(nord, 8);
  assert.equal(opened.content, { by: "sud, anew" });
  assert.is(opened.sealed_by.fingerprint, await fingerprintOf(sud));
  assert.is(opened.sealed_by.status, "unverified");
  assert.is(opened.sealed_by.refused_keys, null);
});

test.run();
