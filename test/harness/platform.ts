import { openObject, sealObject } from "../../src/crypto/envelope.ts";
import { createKeyBundle } from "../../src/crypto/key-bundle.ts";
import { generateEncryptionKeys, generateIdentityKeys, type KeyPair } from "../../src/crypto/keys.ts";
import { createMembership } from "../../src/crypto/membership.ts";
import { objectDigest } from "../../src/protocol/canonical-json.ts";
import { isLive } from "../../src/protocol/grants.ts";
import { mintId } from "../../src/protocol/ids.ts";
import type { Grant as FederatedGrant } from "../../src/protocol/objects.ts";
import type { TestNode } from "./node.ts";
import { type Json, logIn, type Rest } from "./rest.ts";
import { until } from "./until.ts";

/** Keys of a platform, wherever it is at home, and what it publishes of them. */
export interface PlatformKeys {
  readonly uri: string;
  readonly identity: KeyPair;
  readonly encryption: KeyPair;
  readonly bundle: Json;
  readonly membership: string;
}

/** A platform of a node: logged in, its keys published. */
export interface TestPlatform extends PlatformKeys {
  readonly node: TestNode;
  readonly id: string;
  readonly handle: string;
  readonly accessKey: string;
  /** Its REST API; `logInAgain` after a restart of the node is not needed, tokens live in the database. */
  readonly rest: Rest;
}

const days = 86_400;

export async function makePlatformKeys(uri: string): Promise<PlatformKeys> {
  const identity = await generateIdentityKeys();
  const encryption = await generateEncryptionKeys();
  const now = Math.floor(Date.now() / 1000);
  const bundle = await createKeyBundle({ identity, encryption, recovery: null, now, lifetime: 365 * days });
  const membership = await createMembership({ actor: uri, identity, now, lifetime: 365 * days });
  return { uri, identity, encryption, bundle, membership };
}

/** Creates a platform as the administrator, logs in as it and publishes its keys. */
export async function joinPlatform(node: TestNode, handle: string, rights?: readonly string[]): Promise<TestPlatform> {
  const wanted = { name: `Platform ${handle}`, handle, access_key: { label: "test" }, ...(rights ? { rights } : {}) };
  const created = await node.admin.ok("POST", "/platforms", wanted);
  const [issued] = created.access_keys as Json[];
  const accessKey = String(issued?.key);
  const rest = await logIn(node.origin, handle, accessKey);
  const keys = await makePlatformKeys(`${node.origin}/platforms/${handle}`);
  const { bundle, membership } = keys;
  const id = String(created.id);
  await rest.ok("PUT", `/platforms/${id}/key-bundle`, { bundle, membership });
  return { ...keys, node, id, handle, accessKey, rest };
}

/** Publishes the next bundle of a platform, with another encryption key; what it was is kept for reading. */
export async function rotateEncryption(platform: TestPlatform): Promise<TestPlatform> {
  const { uri, identity, bundle: previous, id, rest } = platform;
  const encryption = await generateEncryptionKeys();
  const now = Math.floor(Date.now() / 1000);
  const lifetime = 365 * days;
  const bundle = await createKeyBundle({ previous, identity, encryption, recovery: null, now, lifetime });
  const membership = await createMembership({ actor: uri, identity, now, lifetime });
  await rest.ok("PUT", `/platforms/${id}/key-bundle`, { bundle, membership });
  return { ...platform, encryption, bundle, membership };
}

/** Waits until `platform`'s node lists each of `others` among those with whom it may share. */
export async function untilKnown(platform: TestPlatform, ...others: readonly PlatformKeys[]): Promise<void> {
  await until(`${platform.uri} knows the platforms that it will share with`, async () => {
    const known = new Set((await platform.rest.list("/platforms/recipients")).map(({ uri }) => uri));
    return others.every(({ uri }) => known.has(uri));
  });
}

export interface Grant {
  readonly to: PlatformKeys;
  readonly mode?: "readonly" | "editable";
  readonly from?: string;
  readonly expires?: string;
}

export interface Draft {
  readonly code: string;
  readonly name?: string;
  readonly grants?: readonly Grant[];
  /** What is sealed. */
  readonly content?: Json;
  /** Members of the clear part. */
  readonly clear?: Json;
  readonly uri?: string;
  /** By whose clock grants have begun and not ended; this process's when absent. */
  readonly now?: Date;
}

const startOfGrants = "2026-01-01T00:00:00Z";

/** A project's first revision, sealed for its owner and every grantee whose grant is live. */
export async function sealProject(owner: PlatformKeys, draft: Draft): Promise<Json> {
  const { grants = [] } = draft;
  const object = {
    id: draft.uri ?? mintId(new URL(owner.uri).origin, "projects"),
    type: ["Document", "hf:Project"],
    attributedTo: owner.uri,
    name: draft.name ?? `Project ${draft.code}`,
    "hf:code": draft.code,
    "hf:status": "active",
    "hf:grants": grants.map(grantOf),
    "hf:revision": 1,
    ...draft.clear,
  };
  const content = draft.content ?? { description: draft.code };
  return await seal(owner, object, grants, { content, prev: null, now: draft.now });
}

const grantOf = ({ to, mode = "readonly", from = startOfGrants, expires }: Grant) => ({
  platform: to.uri,
  mode,
  from,
  ...(expires === undefined ? {} : { expires }),
});

export interface Change {
  /** Everyone who holds a grant afterwards. */
  readonly grants: readonly Grant[];
  readonly clear?: Json;
  readonly content?: Json;
  readonly now?: Date;
}

/** The revision after `before`. */
export async function sealNext(owner: PlatformKeys, before: Json, change: Change): Promise<Json> {
  const { "hf:sealed": _, ...rest } = before;
  const revision = Number(before["hf:revision"]) + 1;
  const object = { ...rest, "hf:grants": change.grants.map(grantOf), "hf:revision": revision, ...change.clear };
  const content = change.content ?? { description: `revision ${revision}` };
  return await seal(owner, object, change.grants, { content, prev: objectDigest(before), now: change.now });
}

/** The revision after `before` as an editable grantee makes it: sealed by itself, for owner and grantees. */
export async function sealEdit(
  editor: PlatformKeys,
  owner: PlatformKeys,
  before: Json,
  { grants, clear, content = { description: `revision ${Number(before["hf:revision"]) + 1}` }, now }: Change,
): Promise<Json> {
  const { "hf:sealed": _, ...rest } = before;
  const object = { ...rest, "hf:revision": Number(before["hf:revision"]) + 1, ...clear };
  return await seal(owner, object, grants, { content, prev: objectDigest(before), now, sender: editor });
}

async function seal(
  owner: PlatformKeys,
  object: Json,
  grants: readonly Grant[],
  {
    content,
    prev,
    now = new Date(),
    sender = owner,
  }: {
    readonly content: Json;
    readonly prev: string | null;
    readonly now?: Date | undefined;
    readonly sender?: PlatformKeys;
  },
): Promise<Json> {
  const live = new Set(
    (object["hf:grants"] as FederatedGrant[]).filter((grant) => isLive(grant, now)).map(({ platform }) => platform),
  );
  const grantees = grants.map(({ to }) => to).filter(({ uri }) => live.has(uri));
  return await sealObject({
    object,
    sender: sender.uri,
    identity: sender.identity,
    recipients: [owner, ...grantees].map(({ encryption }) => encryption.publicJwk),
    content,
    prev,
    now,
  });
}

/**
 * What a reader finds sealed in an object; `ownerObject` is the owner's word by which it judges a grantee's edit.
 * @throws when it does not open
 */
export async function openAs(
  reader: PlatformKeys,
  sender: PlatformKeys,
  object: Json,
  ownerObject?: Json,
): Promise<Json> {
  const verdict = await openObject({
    object,
    keys: [reader.encryption],
    ...(ownerObject === undefined ? {} : { known: { verified: [ownerObject], held: {} } }),
    identitiesOf: (actor) => (actor === sender.uri ? [{ jwk: sender.identity.publicJwk }] : []),
    isNew: true,
    now: new Date(),
  });
  if (!verdict.accepted) throw new Error(`the object does not open: ${verdict.reason}`);
  return verdict.content;
}

/** The project with that URI as `platform` sees it over the API, with its object; undefined when it sees none. */
export async function readProject(platform: TestPlatform, uri: string): Promise<Json | undefined> {
  const found = await platform.rest.ok("GET", `/projects?include=object&uri=${encodeURIComponent(uri)}`);
  return (found.items as Json[])[0];
}
