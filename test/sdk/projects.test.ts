import * as assert from "uvu/assert";
import { sealObject } from "../../src/crypto/envelope.ts";
import { objectDigest } from "../../src/protocol/canonical-json.ts";
import type { JsonObject } from "../../src/protocol/objects.ts";
import type { Client } from "../../src/sdk/client.ts";
import { joinInstance } from "../../src/sdk/memberships.ts";
import { readOwnKeys } from "../../src/sdk/own-keys.ts";
import { findProject } from "../../src/sdk/project-views.ts";
import { declareProject, editProject, openProject, shareProject } from "../../src/sdk/projects.ts";
import type { Membership } from "../../src/sdk/vault.ts";
import { suite } from "../harness/suite.ts";
import {
  createInstance,
  createParty,
  now,
  type Party,
  refusalOf,
  type ScriptedInstance,
  viewOf,
  withClient,
} from "./scripted-instance.ts";

const test = suite("sealed projects");

const owner = "https://lyon.example/platforms/hcl";
const project = "https://lyon.example/projects/0190a0a0-0000-7000-8000-000000000001";

interface Parts {
  readonly client: Client;
  readonly membership: Membership;
  readonly instance: ScriptedInstance;
  readonly party: Party;
}

/** A vault that joined one instance, which tells of hcl. */
async function withParts(use: (parts: Parts) => Promise<void>): Promise<void> {
  const instance = createInstance("https://ouest.example");
  const party = await createParty(owner, "id-of-hcl");
  instance.parties.set(party.id, party);
  await withClient([instance], async (client) => {
    await joinInstance(client, { origin: instance.origin, handle: "chu-rennes", accessKey: "key" });
    const [membership] = (await client.vault.read()).memberships;
    if (membership === undefined) throw new Error("did not join");
    instance.received.length = 0;
    await use({ client, membership, instance, party });
  });
}

/** hcl's project, sealed by `by` for the client, put where the client finds it. */
async function serve(
  { client, membership, instance, party }: Parts,
  {
    revision = 1,
    prev = null,
    by = party,
    content = { description: "illustrative" },
  }: { revision?: number; prev?: string | null; by?: Party; content?: JsonObject } = {},
): Promise<JsonObject> {
  const own = readOwnKeys(await client.vault.read());
  const grant = { platform: membership.actor, mode: "readonly", from: "2026-11-26T09:00:00Z" };
  const object = await sealObject({
    object: {
      id: project,
      type: ["Document", "hf:Project"],
      attributedTo: owner,
      "hf:code": "NCT00000001",
      "hf:grants": [grant],
      "hf:revision": revision,
    },
    sender: owner,
    identity: by.identity,
    recipients: [own.encryption.publicJwk, by.encryption.publicJwk],
    content,
    prev,
    now,
  });
  instance.projects.set("local", viewOf(instance.origin, "local", object, [party]));
  return object;
}

test("sends what is sealed only in the envelope", () =>
  withParts(async ({ client, membership, instance }) => {
    const marker = "MARKER-of-a-member";
    const file = { code: "A", name: "Shown", sealed: { members: [{ name: marker }] } };
    const declared = await declareProject(client, membership, file);
    const [sent] = instance.received;
    assert.match(JSON.stringify(sent?.body), "Shown");
    assert.not.match(JSON.stringify(sent?.body), marker);
    const opened = await openProject(client, membership, declared.id);
    assert.equal(opened.content, file.sealed);
    assert.is(opened.sealed_by.status, "self");
  }));

test("opens what another platform sealed, and tells who and whether it was verified", () =>
  withParts(async (parts) => {
    await serve(parts);
    const opened = await openProject(parts.client, parts.membership, "local");
    assert.equal(opened.content, { description: "illustrative" });
    assert.is(opened.sealed_by.actor, owner);
    assert.is(opened.sealed_by.status, "unverified");
  }));

test("seals a shared project for the grantee as well, and each revision anew", () =>
  withParts(async ({ client, membership, instance, party }) => {
    const { id } = await declareProject(client, membership, { code: "A", sealed: { description: "one" } });
    await shareProject(client, membership, id, { platform: { id: party.id, uri: owner }, mode: "readonly" });
    await editProject(client, membership, id, { name: "Named now", sealed: { description: "two" } });
    const objects = instance.received.map(({ body }) => body.object as JsonObject);
    const kids = objects.map((object) =>
      (object["hf:sealed"] as { recipients: { header: { kid: string } }[] }).recipients.map(({ header }) => header.kid),
    );
    assert.equal(
      kids.map((list) => list.includes(party.encryption.kid)),
      [false, true, true],
    );
    assert.equal(
      objects.map((object) => object["hf:revision"]),
      [1, 2, 3],
    );
    assert.equal((await openProject(client, membership, id)).content, { description: "two" });
  }));

test("refuses an envelope that somebody else sealed in the owner's name, and keeps it as evidence", () =>
  withParts(async (parts) => {
    const object = await serve(parts, { by: await createParty(owner, "id-of-hcl") });
    const refused = await refusalOf(() => openProject(parts.client, parts.membership, "local"));
    assert.is(refused.code, "envelope_refused");
    assert.is(refused.details.reason, "sender_key");
    const { refused: evidence, digests } = await parts.client.vault.readHeld(project);
    assert.equal(evidence[0]?.object, object);
    assert.equal(digests, {});
  }));

test("refuses other content under a revision that it has opened", () =>
  withParts(async (parts) => {
    await serve(parts);
    await openProject(parts.client, parts.membership, "local");
    await serve(parts, { content: { description: "another" } });
    const refused = await refusalOf(() => openProject(parts.client, parts.membership, "local"));
    assert.is(refused.code, "envelope_refused");
    assert.is(refused.details.reason, "revision_changed");
  }));

test("refuses a revision that does not follow from the one it has opened", () =>
  withParts(async (parts) => {
    const first = await serve(parts);
    await openProject(parts.client, parts.membership, "local");
    await serve(parts, { revision: 2, prev: objectDigest({ ...first, name: "another" }) });
    const refused = await refusalOf(() => openProject(parts.client, parts.membership, "local"));
    assert.is(refused.details.reason, "prev_mismatch");
    await serve(parts, { revision: 2, prev: objectDigest(first) });
    assert.is((await openProject(parts.client, parts.membership, "local")).object["hf:revision"], 2);
  }));

test("refuses an object that stands in for another one", () =>
  withParts(async (parts) => {
    await serve(parts);
    const view = parts.instance.projects.get("local");
    parts.instance.projects.set("local", { ...view, uri: `${project.slice(0, -1)}2` });
    const refused = await refusalOf(() => openProject(parts.client, parts.membership, "local"));
    assert.is(refused.details.reason, "object_mismatch");
  }));

test("goes on reading with the pinned keys where its instance offers others, and says so", () =>
  withParts(async (parts) => {
    await serve(parts);
    await openProject(parts.client, parts.membership, "local");
    parts.instance.parties.set(parts.party.id, await createParty(owner, parts.party.id));
    const opened = await openProject(parts.client, parts.membership, "local");
    assert.equal(opened.content, { description: "illustrative" });
    assert.is(opened.sealed_by.refused_keys, "equivocation");
  }));

test("seals nothing after a revision that its instance has lost", () =>
  withParts(async ({ client, membership, instance }) => {
    const { id } = await declareProject(client, membership, { code: "A", sealed: {} });
    const first = instance.projects.get(id);
    await editProject(client, membership, id, { name: "Named" });
    if (first !== undefined) instance.projects.set(id, first);
    instance.received.length = 0;
    const refused = await refusalOf(() => editProject(client, membership, id, { name: "Named again" }));
    assert.is(refused.code, "rolled_back");
    assert.equal(instance.received, []);
  }));

test("changes only what it owns, and keeps the code", () =>
  withParts(async (parts) => {
    await serve(parts);
    const { client, membership, instance } = parts;
    assert.is((await refusalOf(() => editProject(client, membership, "local", { name: "x" }))).code, "not_owner");
    const { id } = await declareProject(client, membership, { code: "A", sealed: {} });
    instance.received.length = 0;
    assert.is((await refusalOf(() => editProject(client, membership, id, { code: "B" }))).code, "invalid_project");
    const dates = { start_date: "2026-02-01", end_date: "2026-01-01" };
    const refused = await refusalOf(() => editProject(client, membership, id, dates));
    assert.is(refused.code, "invalid_project");
    assert.equal(instance.received, []);
  }));

test("finds a project by code, and asks where several are meant", () =>
  withParts(async (parts) => {
    const { client, membership, instance } = parts;
    const { uri } = await declareProject(client, membership, { code: "A", sealed: {} });
    assert.is((await findProject(client, "A")).project.uri, uri);
    assert.is((await refusalOf(() => findProject(client, "B"))).code, "not_found");
    const [view] = [...instance.projects.values()];
    instance.projects.set("another", { ...view, id: "another", uri: project });
    const refused = await refusalOf(() => findProject(client, "A"));
    assert.is(refused.code, "ambiguous");
    assert.match(refused.message, project);
  }));

test.run();
