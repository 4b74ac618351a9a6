/** The keys of this vault: the ones in use, and what people ask about them. */
import { readBundleContent } from "../crypto/key-bundle.ts";
import { fingerprint, fingerprintOfThumbprint } from "../crypto/keys.ts";
import type { JsonObject } from "../protocol/objects.ts";
import { type OwnKey, VaultError, type VaultState } from "./vault.ts";

export interface OwnKeys {
  readonly identity: OwnKey;
  /** The encryption key that the newest bundle names. */
  readonly encryption: OwnKey;
  readonly bundle: JsonObject;
  readonly seq: number;
  /** Instant at which the newest bundle ends. */
  readonly expiresAt: string;
}

/** The keys in use. @throws {VaultError} `vault_incomplete` before the first `join` */
export function readOwnKeys(state: VaultState): OwnKeys {
  const bundle = state.bundles.at(-1)?.bundle;
  const encryption = state.encryption.at(-1);
  const content = readBundleContent(bundle);
  if (state.identity === null || bundle === undefined || encryption === undefined || content === null) {
    throw new VaultError("vault_incomplete", "The vault has no identity yet: concordat join ORIGIN --handle HANDLE");
  }
  const expiresAt = new Date(content.exp * 1000).toISOString();
  return { identity: state.identity, encryption, bundle, seq: content.seq, expiresAt };
}

export interface OwnKeysView {
  readonly fingerprint: string;
  readonly identity: string;
  readonly encryption: string;
  readonly retired_encryption: readonly string[];
  readonly recovery: string | null;
  readonly seq: number;
  readonly expires_at: string;
  readonly known: readonly {
    readonly actor: string;
    readonly fingerprint: string | null;
    readonly status: "unverified" | "verified";
    readonly seq: number | null;
  }[];
}

/** Own keys and pinned ones, for people; kids are thumbprints. @throws {VaultError} `vault_incomplete` */
export function describeOwnKeys(state: VaultState): OwnKeysView {
  const { identity, encryption, seq, expiresAt } = readOwnKeys(state);
  return {
    fingerprint: fingerprint(identity.publicJwk),
    identity: identity.kid,
    encryption: encryption.kid,
    retired_encryption: state.encryption.slice(0, -1).map((key) => key.kid),
    recovery: state.recovery,
    seq,
    expires_at: expiresAt,
    known: Object.values(state.pins).map((pin) => {
      const newest = readBundleContent(pin.bundles.at(-1)?.bundle);
      return {
        actor: pin.actor,
        fingerprint: newest === null ? null : fingerprintOfThumbprint(newest.identity),
        status: pin.status,
        seq: newest?.seq ?? null,
      };
    }),
  };
}
