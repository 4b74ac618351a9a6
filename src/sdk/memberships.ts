/** Memberships: one identity, on as many instances as the platform was given access to. */
import { createKeyBundle } from "../crypto/key-bundle.ts";
import { fingerprint, generateEncryptionKeys, generateIdentityKeys, type KeyPair } from "../crypto/keys.ts";
import { createMembership } from "../crypto/membership.ts";
import { ConcordatError } from "../errors.ts";
import { actorIds } from "../protocol/ids.ts";
import type { JsonObject } from "../protocol/objects.ts";
import { type Client, ClientError } from "./client.ts";
import { readOwnKeys } from "./own-keys.ts";
import { createRestClient, logIn, type RestDependencies, reword } from "./rest.ts";
import type { Membership, OwnKey, VaultState } from "./vault.ts";

const secondsPerDay = 86_400;
/** How long bundles and memberships hold that this client makes. */
const lifetimeSeconds = 365 * secondsPerDay;

export interface Joined {
  readonly origin: string;
  readonly handle: string;
  readonly name: string;
  readonly actor: string;
  readonly fingerprint: string;
  /** Was the identity made now, or is it the one that other instances know? */
  readonly identity_created: boolean;
  readonly bundle_seq: number;
}

export interface AccessRequest {
  readonly origin: string;
  readonly handle: string;
  readonly accessKey: string;
}

/** What an instance says of the platform that an access key opens. */
export interface PlatformAccess {
  readonly platformId: string;
  readonly handle: string;
  readonly actor: string;
  readonly name: string;
  /** Of the identity that joined before; null when none did. */
  readonly fingerprint: string | null;
}

/**
 * Logs in with an access key and asks which platform it is for; publishes nothing and needs no vault.
 * @throws {RestError} @throws {ClientError} `not_a_platform`, `unexpected_actor`
 */
export async function checkAccess(
  dependencies: Omit<RestDependencies, "origin">,
  { origin, handle, accessKey }: AccessRequest,
): Promise<PlatformAccess> {
  const at = { ...dependencies, origin };
  const unknown = `${origin} does not accept this handle or access key; ask its administrator for a valid one.`;
  const { token, answer } = await logIn(at, { username: handle, password: accessKey }).catch(
    reword("invalid_credentials", unknown),
  );
  const { platform } = answer;
  if (platform === null) throw new ClientError("not_a_platform", `${handle} is no platform of ${origin}.`);
  const actor = actorIds.platform(origin, platform.handle);
  // The membership binds the identity to this actor: an instance must not have one signed for an actor elsewhere.
  if (platform.uri !== actor) {
    throw new ClientError(
      "unexpected_actor",
      `${origin} says that ${handle} is ${platform.uri}; nothing was published.`,
    );
  }
  const view = (await createRestClient(at, { token }).request("GET", `/platforms/${platform.id}`)) as JsonObject & {
    readonly key_bundle?: { readonly fingerprint: string } | null;
  };
  return {
    platformId: platform.id,
    handle: platform.handle,
    actor,
    name: String(view.name),
    fingerprint: view.key_bundle?.fingerprint ?? null,
  };
}

/**
 * An instance that knows the platform by another identity would refuse this one's keys: said before anything is made.
 * @throws {ClientError} `content_conflict`
 */
export function refuseOtherIdentity(access: PlatformAccess, own: readonly OwnKey[]): void {
  const known = access.fingerprint;
  if (known === null || own.some((key) => fingerprint(key.publicJwk) === known)) return;
  throw new ClientError(
    "content_conflict",
    `${access.actor} has joined with another identity; nothing was published. Use the vault that holds that identity.`,
    { known_fingerprint: known },
  );
}

/**
 * Joins an instance, or joins it again with another access key: logs in, makes an identity where the vault has none,
 * keeps all of it in the vault, then publishes key bundle and membership.
 * @throws {RestError} @throws {ClientError} `not_a_platform`, `unexpected_actor`, `content_conflict`
 */
export async function joinInstance(client: Client, request: AccessRequest): Promise<Joined> {
  const { origin, accessKey } = request;
  const access = await checkAccess(client, request);
  const { actor } = access;
  const held = await client.vault.read();
  refuseOtherIdentity(access, held.identity === null ? [] : [held.identity, ...held.retiredIdentities]);
  const now = client.clock();
  const created = await ensureIdentity(client, now);
  const known = await client.vault.read();
  const { identity } = readOwnKeys(known);
  const membership: Membership = {
    origin,
    handle: access.handle,
    actor,
    platformId: access.platformId,
    name: access.name,
    accessKey,
    joinedAt: known.memberships.find((one) => one.actor === actor)?.joinedAt ?? now.toISOString(),
    membership: await createMembership({ actor, identity, now: secondsOf(now), lifetime: lifetimeSeconds }),
  };
  // Into the vault before it is published: what others know of us, we can always repeat.
  const state = await client.vault.update((before) => ({
    ...before,
    memberships: [...before.memberships.filter((one) => one.actor !== actor), membership],
  }));
  await publishKeys(client, membership);
  return {
    origin,
    handle: membership.handle,
    name: membership.name,
    actor,
    fingerprint: fingerprint(identity.publicJwk),
    identity_created: created,
    bundle_seq: readOwnKeys(state).seq,
  };
}

/** Publishes the newest key bundle and the membership of that instance. @throws {RestError} */
export async function publishKeys(client: Client, membership: Membership): Promise<void> {
  const { bundle } = readOwnKeys(await client.vault.read());
  const body = { bundle, membership: membership.membership };
  await client.rest(membership).request("PUT", `/platforms/${membership.platformId}/key-bundle`, { body });
}

/** Makes identity, encryption key and first bundle where there are none; true when it did. */
async function ensureIdentity(client: Client, now: Date): Promise<boolean> {
  if ((await client.vault.read()).identity !== null) return false;
  const identity = await generateIdentityKeys();
  const encryption = await generateEncryptionKeys();
  const bundle = await createKeyBundle({
    identity,
    encryption,
    recovery: null,
    now: secondsOf(now),
    lifetime: lifetimeSeconds,
  });
  const kept = await client.vault.update((state) =>
    // Another command may have been first: then its identity is the one.
    state.identity !== null
      ? state
      : {
          ...state,
          identity: ownKey(identity, now),
          encryption: [ownKey(encryption, now)],
          bundles: [{ bundle, byRecovery: false }],
        },
  );
  return kept.identity?.kid === identity.kid;
}

const secondsOf = (instant: Date) => Math.floor(instant.getTime() / 1000);

const ownKey = (pair: KeyPair, now: Date): OwnKey => ({ ...pair, createdAt: now.toISOString() });

/**
 * Leaves an instance: it deletes the platform's projects there and ends what others shared with it. The vault keeps its
 * keys, since other instances know them; the membership goes.
 * @throws {RestError}
 */
export async function leaveInstance(client: Client, membership: Membership): Promise<void> {
  await client.rest(membership).request("DELETE", `/platforms/${membership.platformId}`);
  await client.vault.update((state) => ({
    ...state,
    memberships: state.memberships.filter(({ actor }) => actor !== membership.actor),
  }));
}

export interface InstanceRow {
  readonly origin: string;
  readonly handle: string;
  readonly name: string;
  readonly actor: string;
  readonly joined_at: string;
  /** `active`, `suspended`, or the code of what its instance answered instead. */
  readonly state: string;
  /** Is the newest bundle of this vault the one that the instance gives out? Null when it does not say. */
  readonly keys_published: boolean | null;
}

/** All memberships, and what their instances say of them. */
export async function listInstances(client: Client): Promise<readonly InstanceRow[]> {
  const state = await client.vault.read();
  return await Promise.all(
    state.memberships.map(async (membership) => {
      const { origin, handle, name, actor, joinedAt } = membership;
      const row = { origin, handle, name, actor, joined_at: joinedAt };
      try {
        const platform = await client.rest(membership).request("GET", `/platforms/${membership.platformId}`);
        const { status, key_bundle: bundle } = platform as JsonObject & { key_bundle: { seq: number } | null };
        return { ...row, state: String(status), keys_published: bundle?.seq === readOwnKeys(state).seq };
      } catch (error) {
        if (!(error instanceof ConcordatError)) throw error;
        return { ...row, state: error.code, keys_published: null };
      }
    }),
  );
}

/** The memberships of `instance` (an origin or a host), or all. @throws {ClientError} `no_membership` */
export function selectMemberships(state: VaultState, instance?: string): readonly Membership[] {
  const found = state.memberships.filter(
    ({ origin }) => instance === undefined || origin === instance || new URL(origin).host === instance,
  );
  if (found.length > 0) return found;
  const where = instance === undefined ? "any instance" : instance;
  throw new ClientError(
    "no_membership",
    `This vault has no membership of ${where}: concordat join ORIGIN --handle HANDLE`,
    {
      instances: state.memberships.map(({ origin }) => origin),
    },
  );
}

/** The one membership that is meant. @throws {ClientError} `no_membership`, `several_memberships` */
export function selectMembership(state: VaultState, instance?: string): Membership {
  const [membership, ...others] = selectMemberships(state, instance);
  if (membership !== undefined && others.length === 0) return membership;
  throw new ClientError("several_memberships", "Several memberships fit; say which with --instance.", {
    instances: state.memberships.map(({ origin }) => origin),
  });
}
