/**
 * Trust in other platforms' keys (docs/protocol.md, "Trust"): pinned at the first contact, followed along valid chains,
 * refused when substituted: then nothing is sent, and people see both fingerprints.
 */
import { judgeBundleItem } from "../crypto/bundle-items.ts";
import type { SenderIdentity } from "../crypto/envelope.ts";
import { type BundleContent, readBundleContent } from "../crypto/key-bundle.ts";
import { fingerprintOfThumbprint, type PublicJwk } from "../crypto/keys.ts";
import { isJsonObject, type JsonObject } from "../protocol/objects.ts";
import { type Client, ClientError } from "./client.ts";
import { listEverywhere } from "./listing.ts";
import { RestError } from "./rest.ts";
import { type KnownBundle, type Membership, type Pin, VaultError } from "./vault.ts";

/** Keys that are not those of the platform as it is known; `details`: actor, reason, both fingerprints. */
export class TrustError extends ClientError {
  declare readonly code: "trust_refused" | "fingerprint_mismatch";
}

/** A platform that one may share with, as the own instance lists it. */
export interface Recipient extends JsonObject {
  /** Local key at the own instance. */
  readonly id: string;
  readonly uri: string;
  readonly handle: string;
  readonly name: string;
  readonly home_instance: string | null;
}

/** Keys of a platform that may be relied on. */
export interface TrustedKeys {
  readonly actor: string;
  readonly encryption: PublicJwk;
  readonly fingerprint: string;
  readonly status: "unverified" | "verified";
  readonly seq: number;
  readonly identities: readonly SenderIdentity[];
}

/**
 * Finds a platform by its address among those that the instances tell of.
 * @throws {ClientError} `unknown_platform`
 */
export async function findRecipient(
  client: Client,
  { handle, host }: { readonly handle: string; readonly host: string },
  instance?: string,
): Promise<{ readonly membership: Membership; readonly recipient: Recipient }> {
  const { found, unreachable } = await listEverywhere<Recipient>(client, "/platforms/recipients", {}, instance);
  const match = found.find(({ item }) => item.handle === handle && new URL(item.uri).host === host);
  if (match !== undefined) return { membership: match.membership, recipient: match.item };
  throw new ClientError(
    "unknown_platform",
    `No instance of yours tells of ${handle}@${host}. Its instance must be an approved peer, and it must have published its keys.`,
    unreachable.length === 0 ? {} : { unreachable },
  );
}

/**
 * Fetches a platform's bundles through the own instance, judges them against what is pinned, and pins what is new.
 * @throws {TrustError} `trust_refused` @throws {ClientError} `no_key_bundle` @throws {RestError}
 */
export async function learnKeys(
  client: Client,
  membership: Membership,
  { id, uri }: { readonly id: string; readonly uri: string },
): Promise<TrustedKeys> {
  // Judging takes time: when another command has pinned something meanwhile, it is judged again.
  for (let attempt = 0; attempt < 3; attempt += 1) {
    const pin = (await client.vault.read()).pins[uri];
    const item = await fetchBundleItem(client, membership, { id, uri, from: newestOf(pin)?.seq ?? 1 });
    const next = await judgeAgainstPin(client, uri, pin, item);
    const state = await client.vault.update((before) =>
      JSON.stringify(before.pins[uri]) === JSON.stringify(pin)
        ? { ...before, pins: { ...before.pins, [uri]: next } }
        : before,
    );
    if (JSON.stringify(state.pins[uri]) === JSON.stringify(next)) return trustedKeysOf(next);
  }
  throw new VaultError("vault_busy", `Other commands keep changing what is known of ${uri}; try again.`);
}

/** What is pinned of a platform, without asking anybody; null before the first contact. */
export async function recallKeys(client: Client, uri: string): Promise<TrustedKeys | null> {
  const pin = (await client.vault.read()).pins[uri];
  return pin === undefined ? null : trustedKeysOf(pin);
}

/**
 * Records that people compared the fingerprint of a pinned platform.
 * @throws {TrustError} `fingerprint_mismatch` @throws {ClientError} `unknown_platform`
 */
export async function confirmFingerprint(client: Client, uri: string, said: string): Promise<TrustedKeys> {
  const known = await recallKeys(client, uri);
  if (known === null) throw new ClientError("unknown_platform", `Nothing is known of the keys of ${uri} yet.`);
  const digits = (text: string) => text.toLowerCase().replace(/[^0-9a-f]/g, "");
  if (digits(said) !== digits(known.fingerprint)) {
    throw new TrustError("fingerprint_mismatch", `That is not the fingerprint of ${uri}: do not share with it.`, {
      actor: uri,
      known_fingerprint: known.fingerprint,
      offered_fingerprint: said,
    });
  }
  const verifiedAt = client.clock().toISOString();
  const state = await client.vault.update((before) => {
    const pin = before.pins[uri];
    const unchanged = pin !== undefined && trustedKeysOf(pin).fingerprint === known.fingerprint;
    if (!unchanged) return before;
    return { ...before, pins: { ...before.pins, [uri]: { ...pin, status: "verified", verifiedAt } } };
  });
  const pin = state.pins[uri];
  return pin === undefined ? known : trustedKeysOf(pin);
}

/** Identities of a chain of accepted bundles, each with its end and what ended it. */
export function identitiesOf(bundles: readonly KnownBundle[]): readonly SenderIdentity[] {
  const chain = bundles.flatMap(({ bundle, byRecovery }) => {
    const content = readBundleContent(bundle);
    return content === null ? [] : [{ content, byRecovery }];
  });
  const identities: SenderIdentity[] = [];
  for (const [at, { content }] of chain.entries()) {
    const next = chain[at + 1];
    if (next === undefined) identities.push({ jwk: content.identityJwk });
    else if (next.content.identity !== content.identity) {
      const endedBy = next.byRecovery ? "recovery" : "rotation";
      identities.push({ jwk: content.identityJwk, until: next.content.iat, endedBy });
    }
  }
  return identities;
}

async function fetchBundleItem(
  client: Client,
  membership: Membership,
  { id, uri, from }: { readonly id: string; readonly uri: string; readonly from: number },
): Promise<JsonObject> {
  const rest = client.rest(membership);
  try {
    const newest = await rest.request("GET", `/platforms/${id}/key-bundle`);
    const history = await rest.request("GET", `/platforms/${id}/key-bundles`, { query: { from } });
    const items = isJsonObject(history) && Array.isArray(history.items) ? (history.items as unknown[]) : [];
    const { bundle, membership: word } = isJsonObject(newest) ? newest : {};
    const last = readBundleContent(items.at(-1));
    const isLast = last !== null && last.payloadDigest === readBundleContent(bundle)?.payloadDigest;
    return { actor: uri, membership: word, bundles: isLast ? items : [...items, bundle] };
  } catch (error) {
    if (!(error instanceof RestError && error.code === "not_found")) throw error;
    throw new ClientError("no_key_bundle", `${uri} has published no keys yet; nothing can be sealed for it.`, {
      actor: uri,
    });
  }
}

async function judgeAgainstPin(client: Client, uri: string, pin: Pin | undefined, item: JsonObject): Promise<Pin> {
  const now = client.clock();
  const verdict = await judgeBundleItem({
    known: (pin?.bundles ?? []).map(({ bundle }) => bundle),
    item,
    actor: uri,
    heldIat: pin?.membershipIat ?? null,
    now: Math.floor(now.getTime() / 1000),
  });
  if (!verdict.accepted) throw refusal(uri, pin, item, verdict.reason);
  let bundles = [...(pin?.bundles ?? [])];
  for (const { bundle, accepted } of verdict.bundles) {
    if (accepted.known) continue;
    if (accepted.overrides) bundles = bundles.filter((known) => seqOf(known.bundle) < accepted.seq);
    bundles.push({ bundle, byRecovery: accepted.byRecovery });
  }
  // A new identity was not compared by anybody, however valid its chain is.
  const before = newestOf(pin)?.identity;
  const same = pin !== undefined && before === newestOf({ bundles })?.identity;
  return {
    actor: uri,
    bundles,
    membershipIat: verdict.membership.iat,
    status: same ? pin.status : "unverified",
    pinnedAt: pin?.pinnedAt ?? now.toISOString(),
    verifiedAt: same ? pin.verifiedAt : null,
  };
}

function refusal(uri: string, pin: Pin | undefined, item: JsonObject, reason: string): TrustError {
  const offered = readBundleContent((item.bundles as unknown[]).at(-1));
  const known = newestOf(pin);
  const fingerprintOf = (content: BundleContent | null) =>
    content === null ? null : fingerprintOfThumbprint(content.identity);
  const details = {
    actor: uri,
    reason,
    known_fingerprint: fingerprintOf(known),
    offered_fingerprint: fingerprintOf(offered),
  };
  const message =
    known === null
      ? `The keys that are offered for ${uri} are refused (${reason}); nothing was sent.`
      : `The keys that are offered for ${uri} do not follow from those that are known (${reason}); nothing was sent. Ask its people, not its instance.`;
  return new TrustError("trust_refused", message, details);
}

const seqOf = (bundle: JsonObject) => readBundleContent(bundle)?.seq ?? 0;

function newestOf(pin: Pick<Pin, "bundles"> | undefined): BundleContent | null {
  return readBundleContent(pin?.bundles.at(-1)?.bundle);
}

function trustedKeysOf(pin: Pin): TrustedKeys {
  const newest = newestOf(pin);
  if (newest === null)
    throw new VaultError("vault_damaged", `What the vault has pinned of ${pin.actor} cannot be read.`);
  return {
    actor: pin.actor,
    encryption: newest.encryptionJwk,
    fingerprint: fingerprintOfThumbprint(newest.identity),
    status: pin.status,
    seq: newest.seq,
    identities: identitiesOf(pin.bundles),
  };
}
