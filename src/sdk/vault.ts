/**
 * The client's vault: identity, encryption keys, memberships, pins of others and what it knows of objects, encrypted
 * under a passphrase in a key-value store (classic-level, or browser-level).
 *
 * The store is opened for moments (read, write, close), never across a network call, so that two commands of one person
 * do not block each other. The passphrase is turned into a key once.
 */
import type { KeyPair } from "../crypto/keys.ts";
import type { JsonObject } from "../protocol/objects.ts";
import { createVaultKey, openVaultKey, type RecordCipher, VaultError, type VaultHeader } from "./vault-key.ts";

export { VaultError, type VaultErrorCode } from "./vault-key.ts";

/** What the vault needs of an opened `abstract-level` database with texts as keys and values. */
export interface VaultStore {
  get(key: string): Promise<string | undefined>;
  /** Written through to the disk before it resolves. */
  put(key: string, value: string): Promise<void>;
  close(): Promise<void>;
}

/** An own key. */
export interface OwnKey extends KeyPair {
  /** Instant. */
  readonly createdAt: string;
}

/** One identity on one instance. */
export interface Membership {
  readonly origin: string;
  readonly handle: string;
  /** URI of the platform's actor there. */
  readonly actor: string;
  /** Local key of the platform there. */
  readonly platformId: string;
  readonly name: string;
  readonly accessKey: string;
  /** Instant. */
  readonly joinedAt: string;
  /** The membership as published (compact JWS). */
  readonly membership: string;
}

/** A bundle that was accepted. */
export interface KnownBundle {
  /** General JWS. */
  readonly bundle: JsonObject;
  /** Signed by a recovery key: the identity before it ended at once. */
  readonly byRecovery: boolean;
}

/** What is known of another platform's keys since the first contact. */
export interface Pin {
  readonly actor: string;
  /** Accepted bundles, ascending. */
  readonly bundles: readonly KnownBundle[];
  /** `iat` of the newest accepted membership, seconds. */
  readonly membershipIat: number;
  /** Were the fingerprints compared by people? */
  readonly status: "unverified" | "verified";
  /** Instants. */
  readonly pinnedAt: string;
  readonly verifiedAt: string | null;
}

export interface VaultState {
  readonly version: 1;
  readonly identity: OwnKey | null;
  readonly retiredIdentities: readonly OwnKey[];
  /** Newest last; retired ones are kept for reading. */
  readonly encryption: readonly OwnKey[];
  /** Thumbprint of the recovery key that the newest bundle names, or null. */
  readonly recovery: string | null;
  /** Own bundles as published, ascending. */
  readonly bundles: readonly KnownBundle[];
  readonly memberships: readonly Membership[];
  readonly pins: Readonly<Record<string, Pin>>;
}

/** An object that was refused when it was opened. */
export interface Evidence {
  readonly reason: string;
  /** Instant. */
  readonly at: string;
  readonly object: JsonObject;
}

/** What this vault knows of one federated object, to judge the next revision by. */
export interface HeldObject {
  /** Revision → digest of the object that was opened, or sealed, at it. */
  readonly digests: Readonly<Record<string, string>>;
  /** Newest snapshots without `hf:sealed` that were verified as the owner's, ascending. */
  readonly verified: readonly JsonObject[];
  /** Newest last. */
  readonly refused: readonly Evidence[];
}

const emptyState: VaultState = {
  version: 1,
  identity: null,
  retiredIdentities: [],
  encryption: [],
  recovery: null,
  bundles: [],
  memberships: [],
  pins: {},
};

const nothingHeld: HeldObject = { digests: {}, verified: [], refused: [] };

/** An opened vault: every call opens the store for that moment only. */
export interface Vault {
  read(): Promise<VaultState>;
  /** Changes the state in one moment; `change` gets the state of now and must not wait for the network. */
  update(change: (state: VaultState) => VaultState): Promise<VaultState>;
  readHeld(objectId: string): Promise<HeldObject>;
  updateHeld(objectId: string, change: (held: HeldObject) => HeldObject): Promise<void>;
}

/** Opens the store; rejects with `vault_busy` when another process keeps it. */
export type OpenStore = () => Promise<VaultStore>;

const headerKey = "header";
const stateName = "state";

/** Is there a vault in that store? */
export async function vaultExists(openStore: OpenStore): Promise<boolean> {
  return (await withStore(openStore, (store) => store.get(headerKey))) !== undefined;
}

/**
 * Creates a vault.
 * @throws {VaultError} `vault_exists`
 */
export async function createVault(openStore: OpenStore, passphrase: string, iterations?: number): Promise<Vault> {
  const { header, cipher } = await createVaultKey(passphrase, iterations);
  await withStore(openStore, async (store) => {
    if ((await store.get(headerKey)) !== undefined) {
      throw new VaultError("vault_exists", "There is a vault already; open it with its passphrase.");
    }
    await writeRecord(store, cipher, stateName, emptyState);
    // The header last: without it there is no vault, so a creation that breaks off can be repeated.
    await store.put(headerKey, JSON.stringify(header));
  });
  return vaultOf(openStore, cipher);
}

/**
 * Opens a vault.
 * @throws {VaultError} `vault_missing`, `vault_passphrase`, `vault_damaged`
 */
export async function openVault(openStore: OpenStore, passphrase: string): Promise<Vault> {
  const text = await withStore(openStore, (store) => store.get(headerKey));
  if (text === undefined) {
    throw new VaultError("vault_missing", "There is no vault here yet; `concordat join` makes one.");
  }
  return vaultOf(openStore, await openVaultKey(JSON.parse(text) as VaultHeader, passphrase));
}

async function withStore<T>(openStore: OpenStore, use: (store: VaultStore) => Promise<T>): Promise<T> {
  const store = await openStore();
  try {
    return await use(store);
  } finally {
    await store.close();
  }
}

async function readRecord<T>(store: VaultStore, cipher: RecordCipher, name: string): Promise<T | undefined> {
  const encrypted = await store.get(await cipher.storeKey(name));
  return encrypted === undefined ? undefined : (JSON.parse(await cipher.decrypt(name, encrypted)) as T);
}

async function writeRecord(store: VaultStore, cipher: RecordCipher, name: string, value: unknown): Promise<void> {
  await store.put(await cipher.storeKey(name), await cipher.encrypt(name, JSON.stringify(value)));
}

function vaultOf(openStore: OpenStore, cipher: RecordCipher): Vault {
  // A store admits one opening at a time, also within this process.
  let last: Promise<unknown> = Promise.resolve();
  const moment = <T>(use: (store: VaultStore) => Promise<T>): Promise<T> => {
    const next = last.then(() =>
      withStore(openStore, async (store) => {
        await refuseReplaced(store, cipher);
        return await use(store);
      }),
    );
    last = next.catch(() => undefined);
    return next;
  };
  const readState = async (store: VaultStore): Promise<VaultState> => {
    const state = await readRecord<VaultState>(store, cipher, stateName);
    if (state === undefined)
      throw new VaultError("vault_damaged", "The vault's state is missing; restore it from a copy.");
    return state;
  };
  const heldName = (objectId: string) => `held ${objectId}`;
  return {
    read: () => moment(readState),
    update: (change) =>
      moment(async (store) => {
        const state = change(await readState(store));
        await writeRecord(store, cipher, stateName, state);
        return state;
      }),
    readHeld: (objectId) =>
      moment(async (store) => (await readRecord<HeldObject>(store, cipher, heldName(objectId))) ?? nothingHeld),
    updateHeld: (objectId, change) =>
      moment(async (store) => {
        const held = (await readRecord<HeldObject>(store, cipher, heldName(objectId))) ?? nothingHeld;
        await writeRecord(store, cipher, heldName(objectId), change(held));
      }),
  };
}

async function refuseReplaced(store: VaultStore, cipher: RecordCipher): Promise<void> {
  const header = await store.get(headerKey);
  if (header === undefined || (JSON.parse(header) as VaultHeader).kdf.salt !== cipher.salt) {
    throw new VaultError("vault_damaged", "The vault was replaced while it was in use; run the command again.");
  }
}
