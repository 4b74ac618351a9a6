/** Sealing projects for their readers, and opening them as one (docs/protocol.md, "Sealed envelope"). */

import { openObject, type SenderIdentity, sealObject } from "../crypto/envelope.ts";
import { inspectEnvelope } from "../crypto/envelope-inspection.ts";
import { fingerprint, type PublicJwk } from "../crypto/keys.ts";
import { objectDigest } from "../protocol/canonical-json.ts";
import { isLive } from "../protocol/grants.ts";
import type { Grant, JsonObject } from "../protocol/objects.ts";
import { type Client, ClientError } from "./client.ts";
import { readOwnKeys } from "./own-keys.ts";
import { identitiesOf, learnKeys, recallKeys, TrustError } from "./trust.ts";
import type { HeldObject, Membership } from "./vault.ts";

/** How many snapshots and refused objects the vault keeps of each object. */
const kept = { verified: 10, refused: 5 };

/** Who sealed what was opened. */
export interface SealedBy {
  readonly actor: string;
  readonly fingerprint: string;
  /** `self`, or whether people have compared the fingerprint. */
  readonly status: "self" | "verified" | "unverified";
  /** Why its instance's newest word on its keys was refused, where it was; what was pinned before still holds. */
  readonly refused_keys: string | null;
}

export interface OpenedObject {
  readonly content: JsonObject;
  readonly sealed_by: SealedBy;
  /** Instant that the sender states. */
  readonly issued_at: string;
}

/**
 * Seals a project, as its owner or as an editable grantee, for owner and every live grantee, each with the newest key
 * that is trusted. `platformIdOf` gives their local keys at the own instance.
 * @throws {TrustError} when one of them is offered with other keys: then nothing is sealed
 */
export async function sealProject(
  client: Client,
  membership: Membership,
  {
    object,
    content,
    prev,
    platformIdOf,
  }: {
    readonly object: JsonObject;
    readonly content: JsonObject;
    readonly prev: string | null;
    readonly platformIdOf: (actor: string) => string | null;
  },
): Promise<JsonObject> {
  const own = readOwnKeys(await client.vault.read());
  const now = client.clock();
  const grants = (object["hf:grants"] as readonly Grant[]).filter((grant) => isLive(grant, now));
  const parties = [String(object.attributedTo), ...grants.map(({ platform }) => platform)];
  const others = parties.filter((actor) => actor !== membership.actor);
  const recipients = [own.encryption.publicJwk, ...(await keysOf(client, membership, others, platformIdOf))];
  return await sealObject({
    object,
    sender: membership.actor,
    identity: own.identity,
    recipients,
    content,
    prev,
    now,
  });
}

async function keysOf(
  client: Client,
  membership: Membership,
  actors: readonly string[],
  platformIdOf: (actor: string) => string | null,
): Promise<readonly PublicJwk[]> {
  const keys: PublicJwk[] = [];
  for (const actor of actors) {
    const id = platformIdOf(actor);
    if (id === null) {
      throw new ClientError("unknown_platform", `${membership.origin} does not tell of ${actor} any more.`, { actor });
    }
    keys.push((await learnKeys(client, membership, { id, uri: actor })).encryption);
  }
  return keys;
}

/**
 * Opens an object as the owner of this vault, with every check, and remembers it to judge the next revision by.
 * `sender` is the platform that sealed it where that is another one; `id` its local key at the own instance.
 * @throws {ClientError} `envelope_refused` with the reason; the object is kept as evidence
 */
export async function openSealed(
  client: Client,
  membership: Membership,
  object: JsonObject,
  platformIdOf: (actor: string) => string | null,
): Promise<OpenedObject> {
  const objectId = String(object.id);
  const held = await client.vault.readHeld(objectId);
  const digest = objectDigest(object);
  const revision = String(object["hf:revision"]);
  const digestHeld = held.digests[revision];
  if (digestHeld !== undefined && digestHeld !== digest) {
    throw await refuse(client, object, "revision_changed");
  }
  const sender = claimedSender(object);
  const { identities, by } = await identitiesOfSender(client, membership, sender, platformIdOf);
  const verdict = await openObject({
    object,
    keys: (await client.vault.read()).encryption,
    identitiesOf: (actor) => (actor === sender ? identities : []),
    known: { verified: held.verified, held: held.digests },
    isNew: digestHeld === undefined,
    now: client.clock(),
  });
  if (!verdict.accepted) throw await refuse(client, object, verdict.reason);
  await rememberObject(client, object, verdict.byOwner);
  return { content: verdict.content, sealed_by: by, issued_at: verdict.issuedAt };
}

/** Remembers a revision that was opened, or sealed here, to judge the next one by. */
export async function rememberObject(client: Client, object: JsonObject, byOwner: boolean): Promise<void> {
  const { "hf:sealed": _sealed, ...clear } = object;
  const revision = Number(object["hf:revision"]);
  const addVerified = (verified: HeldObject["verified"]) =>
    [...verified.filter((one) => one["hf:revision"] !== revision), clear]
      .sort((one, other) => Number(one["hf:revision"]) - Number(other["hf:revision"]))
      .slice(-kept.verified);
  await client.vault.updateHeld(String(object.id), (held) => ({
    ...held,
    digests: { ...held.digests, [revision]: objectDigest(object) },
    verified: byOwner ? addVerified(held.verified) : held.verified,
  }));
}

async function refuse(client: Client, object: JsonObject, reason: string): Promise<ClientError> {
  const at = client.clock().toISOString();
  await client.vault.updateHeld(String(object.id), (held) => ({
    ...held,
    refused: [...held.refused, { reason, at, object }].slice(-kept.refused),
  }));
  return new ClientError(
    "envelope_refused",
    `The sealed part of ${object.id}, revision ${object["hf:revision"]}, is refused (${reason}); it is kept in the vault as evidence.`,
    { object: object.id, revision: object["hf:revision"], reason },
  );
}

/** Who the envelope says has sealed it; the owner where it says nothing that can be read, and then it is refused. */
function claimedSender(object: JsonObject): string {
  try {
    return inspectEnvelope(object).sender;
  } catch {
    return String(object.attributedTo);
  }
}

async function identitiesOfSender(
  client: Client,
  membership: Membership,
  sender: string,
  platformIdOf: (actor: string) => string | null,
): Promise<{ readonly identities: readonly SenderIdentity[]; readonly by: SealedBy }> {
  const state = await client.vault.read();
  if (state.memberships.some(({ actor }) => actor === sender)) {
    const { identity } = readOwnKeys(state);
    const by: SealedBy = {
      actor: sender,
      fingerprint: fingerprint(identity.publicJwk),
      status: "self",
      refused_keys: null,
    };
    return { identities: identitiesOf(state.bundles), by };
  }
  const id = platformIdOf(sender);
  let refused: string | null = null;
  let known = await recallKeys(client, sender);
  try {
    if (id !== null) known = await learnKeys(client, membership, { id, uri: sender });
  } catch (error) {
    // For reading, what was pinned before goes on to hold; without a pin there is nothing to believe.
    if (!(error instanceof TrustError) || known === null) throw error;
    refused = String(error.details.reason);
  }
  if (known === null) {
    throw new ClientError("unknown_platform", `${membership.origin} has no keys of ${sender}, who sealed this.`, {
      actor: sender,
    });
  }
  const by: SealedBy = {
    actor: sender,
    fingerprint: known.fingerprint,
    status: known.status,
    refused_keys: refused,
  };
  return { identities: known.identities, by };
}
