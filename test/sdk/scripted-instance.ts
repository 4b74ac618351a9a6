/**
 * An instance that says what a test wants it to say: the adversary that a client must not believe. It takes whatever it
 * is sent and judges nothing; how real nodes answer, the tests of federation show.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { levelStore } from "../../src/cli/vault-access.ts";
import { createKeyBundle } from "../../src/crypto/key-bundle.ts";
import { generateEncryptionKeys, generateIdentityKeys, type KeyPair } from "../../src/crypto/keys.ts";
import { createMembership } from "../../src/crypto/membership.ts";
import type { Grant, JsonObject } from "../../src/protocol/objects.ts";
import { type Client, createClient } from "../../src/sdk/client.ts";
import { createVault } from "../../src/sdk/vault.ts";

export const now = new Date("2026-11-26T10:00:00Z");
const seconds = Math.floor(now.getTime() / 1000);
const year = 365 * 86_400;

/** A platform with its keys and the bundles that it made, as its own client would. */
export interface Party {
  readonly actor: string;
  readonly id: string;
  identity: KeyPair;
  encryption: KeyPair;
  readonly bundles: JsonObject[];
  membership: string;
}

export async function createParty(actor: string, id: string, lifetime = year): Promise<Party> {
  const identity = await generateIdentityKeys();
  const encryption = await generateEncryptionKeys();
  const bundle = await createKeyBundle({ identity, encryption, recovery: null, now: seconds - 60, lifetime });
  const membership = await createMembership({ actor, identity, now: seconds - 60, lifetime: year });
  return { actor, id, identity, encryption, bundles: [bundle], membership };
}

/** The party's next bundle: another encryption key, and another identity where one is given. */
export async function rotate(party: Party, change: { readonly identity?: KeyPair } = {}): Promise<void> {
  const before = party.identity;
  party.encryption = await generateEncryptionKeys();
  party.identity = change.identity ?? before;
  const previous = party.bundles.at(-1);
  const bundle = await createKeyBundle({
    ...(previous === undefined ? {} : { previous }),
    ...(change.identity === undefined ? {} : { previousIdentity: before }),
    identity: party.identity,
    encryption: party.encryption,
    recovery: null,
    now: seconds - 30,
    lifetime: year,
  });
  party.bundles.push(bundle);
  party.membership = await createMembership({
    actor: party.actor,
    identity: party.identity,
    now: seconds - 30,
    lifetime: year,
  });
}

export interface ScriptedInstance {
  readonly origin: string;
  /** Platforms whose keys it gives out, by local key. */
  readonly parties: Map<string, Party>;
  /** What it answers to `GET /projects/{id}`. */
  readonly projects: Map<string, JsonObject>;
  /** What it was sent, in order. */
  readonly received: { readonly method: string; readonly path: string; readonly body: JsonObject }[];
  /** The `uri` of the platform that logs in. */
  loginUri: (handle: string) => string;
}

export function createInstance(origin: string): ScriptedInstance {
  return {
    origin,
    parties: new Map(),
    projects: new Map(),
    received: [],
    loginUri: (handle) => `${origin}/platforms/${handle}`,
  };
}

/** `fetch` over scripted instances; every other origin refuses the connection. */
export function fetchOf(...instances: readonly ScriptedInstance[]): typeof fetch {
  return async (input, init) => {
    const url = new URL(String(input));
    const instance = instances.find(({ origin }) => origin === url.origin);
    if (instance === undefined) throw new TypeError("fetch failed");
    const method = init?.method ?? "GET";
    const path = url.pathname.replace("/api/v1", "");
    const body = typeof init?.body === "string" ? (JSON.parse(init.body) as JsonObject) : {};
    if (method !== "GET" && path !== "/auth/login") instance.received.push({ method, path, body });
    const { status, value } = answerOf(instance, method, path, body, url.searchParams);
    return new Response(value === undefined ? null : JSON.stringify(value), { status });
  };
}

function answerOf(
  instance: ScriptedInstance,
  method: string,
  path: string,
  body: JsonObject,
  query: URLSearchParams,
): { readonly status: number; readonly value?: unknown } {
  const { origin, parties, projects } = instance;
  if (path === "/auth/login") {
    const handle = String(body.username);
    const platform = { id: `id-of-${handle}`, handle, uri: instance.loginUri(handle) };
    return { status: 200, value: { access_token: "token", expires_in: 900, is_admin: false, platform } };
  }
  if (path === "/platforms/recipients") {
    const items = [...parties.values()].map(({ id, actor }) => {
      const url = new URL(actor);
      return {
        id,
        uri: actor,
        handle: url.pathname.split("/").at(-1),
        name: `${url.host} platform`,
        home_instance: url.origin,
      };
    });
    return { status: 200, value: { items, next_cursor: null } };
  }
  if (path === "/projects" && method === "GET") {
    const items = [...projects.values()].filter(({ code }) => (query.get("code") ?? code) === code);
    return { status: 200, value: { items, next_cursor: null } };
  }
  const [, folder, id = "", leaf] = path.split("/");
  const party = parties.get(id);
  if (folder === "platforms" && method === "PUT") return { status: 204 };
  if (folder === "platforms" && leaf === undefined)
    return { status: 200, value: { id, name: "a platform", key_bundle: null } };
  if (folder === "platforms" && party !== undefined) {
    const from = Number(query.get("from") ?? 1);
    const { bundles, membership } = party;
    return leaf === "key-bundle"
      ? { status: 200, value: { bundle: bundles.at(-1), membership } }
      : { status: 200, value: { items: bundles.slice(from - 1) } };
  }
  if (folder === "projects" && method !== "GET") {
    const object = body.object as JsonObject;
    const local = String(object.id).split("/").at(-1) ?? "";
    const view = viewOf(origin, local, object, [...parties.values()]);
    projects.set(local, view);
    return { status: 200, value: view };
  }
  const project = projects.get(id);
  if (folder === "projects" && project !== undefined) return { status: 200, value: project };
  return { status: 404, value: { code: "not_found", detail: "There is nothing here." } };
}

/** What an instance says of a project beside its object. */
export function viewOf(origin: string, id: string, object: JsonObject, parties: readonly Party[]): JsonObject {
  const owner = parties.find(({ actor }) => actor === object.attributedTo);
  return {
    id,
    uri: object.id,
    code: object["hf:code"],
    owner_uri: object.attributedTo,
    owner_platform_id: owner?.id ?? null,
    grants: (object["hf:grants"] as Grant[]).map(({ platform }) => ({
      platform,
      platform_id: parties.find(({ actor }) => actor === platform)?.id ?? null,
    })),
    revision: object["hf:revision"],
    access: String(object.attributedTo).startsWith(origin) ? "owner" : "readonly",
    object,
  };
}

/** Runs with a client over a fresh vault in a directory of its own. */
export async function withClient(
  instances: readonly ScriptedInstance[],
  use: (client: Client) => Promise<void>,
): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "concordat-sdk-"));
  try {
    const vault = await createVault(levelStore(directory), "a passphrase of the test", 1_000);
    await use(createClient({ vault, fetch: fetchOf(...instances), clock: () => now }));
  } finally {
    await rm(directory, { recursive: true });
  }
}

/** The error of a refusal. */
export async function refusalOf(run: () => Promise<unknown>): Promise<Error & { code: string; details: JsonObject }> {
  try {
    await run();
  } catch (error) {
    return error as Error & { code: string; details: JsonObject };
  }
  throw new Error("was not refused");
}
