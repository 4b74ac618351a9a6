/**
 * The cryptography of the vault: a random data key under the passphrase, and records under the data key.
 *
 * The passphrase only wraps the data key, so that changing it rewrites one record. Names of records are hidden too: what
 * a platform corresponds about is nobody's business who finds the disk.
 */
import { base64urlnopad } from "@scure/base";
import { ConcordatError } from "../errors.ts";

export type VaultErrorCode =
  | "vault_missing"
  | "vault_exists"
  | "vault_passphrase"
  | "vault_damaged"
  | "vault_busy"
  | "vault_incomplete";

/** What goes wrong with a vault; never crosses a wire. */
export class VaultError extends ConcordatError {
  declare readonly code: VaultErrorCode;

  constructor(code: VaultErrorCode, message: string, options?: ErrorOptions) {
    super(code, message, options);
  }
}

/** Rounds of PBKDF2-HMAC-SHA-256 for new vaults (OWASP 2023); the count in a vault's header is the one that holds. */
const passphraseIterations = 600_000;

/** The only record in clear: how the passphrase becomes a key, and the data key that this key wraps. */
export interface VaultHeader {
  readonly version: 1;
  readonly kdf: { readonly name: "PBKDF2-SHA-256"; readonly iterations: number; readonly salt: string };
  /** base64url of iv (12 octets) and AES-256-GCM ciphertext of the data key (32 octets). */
  readonly wrapped: string;
}

/** Encrypts and decrypts records under the data key of one vault. */
export interface RecordCipher {
  /** Salt of the vault that this cipher belongs to: another one means that the vault was replaced. */
  readonly salt: string;
  /** Store key of a record: an HMAC of its name. */
  storeKey(name: string): Promise<string>;
  encrypt(name: string, text: string): Promise<string>;
  /** @throws {VaultError} `vault_damaged` */
  decrypt(name: string, encrypted: string): Promise<string>;
}

/** WebCrypto's CryptoKey, by a name that Node's and the browser's types have in common. */
type WebCryptoKey = Awaited<ReturnType<typeof crypto.subtle.importKey>>;

const utf8 = new TextEncoder();
const ivOctets = 12;

/** A header with a fresh data key, and the cipher of that key. */
export async function createVaultKey(
  passphrase: string,
  iterations = passphraseIterations,
): Promise<{ readonly header: VaultHeader; readonly cipher: RecordCipher }> {
  const salt = base64urlnopad.encode(crypto.getRandomValues(new Uint8Array(16)));
  const kdf = { name: "PBKDF2-SHA-256", iterations, salt } as const;
  const dataKey = crypto.getRandomValues(new Uint8Array(32));
  const wrapping = await derivePassphraseKey(passphrase, kdf);
  const wrapped = await encryptOctets(wrapping, dataKey, headerBinding(kdf));
  return { header: { version: 1, kdf, wrapped }, cipher: await createCipher(dataKey, salt) };
}

/** @throws {VaultError} `vault_passphrase` when the passphrase is another one */
export async function openVaultKey(header: VaultHeader, passphrase: string): Promise<RecordCipher> {
  if (header.version !== 1 || header.kdf?.name !== "PBKDF2-SHA-256") {
    throw new VaultError("vault_damaged", "The vault's header is of another form; it may be of a newer version.");
  }
  const wrapping = await derivePassphraseKey(passphrase, header.kdf);
  const dataKey = await decryptOctets(wrapping, header.wrapped, headerBinding(header.kdf)).catch((cause) => {
    throw new VaultError("vault_passphrase", "The passphrase does not open this vault.", { cause });
  });
  return await createCipher(dataKey, header.kdf.salt);
}

/** Binds the derivation into the wrapped key, so that nobody can lower the rounds. */
function headerBinding(kdf: VaultHeader["kdf"]): string {
  return `concordat-vault.1 ${kdf.name} ${kdf.iterations} ${kdf.salt}`;
}

async function derivePassphraseKey(passphrase: string, kdf: VaultHeader["kdf"]): Promise<WebCryptoKey> {
  const octets = utf8.encode(passphrase.normalize("NFKC"));
  const material = await crypto.subtle.importKey("raw", octets, "PBKDF2", false, ["deriveKey"]);
  const salt = new Uint8Array(base64urlnopad.decode(kdf.salt));
  return await crypto.subtle.deriveKey(
    { name: "PBKDF2", hash: "SHA-256", salt, iterations: kdf.iterations },
    material,
    { name: "AES-GCM", length: 256 },
    false,
    ["encrypt", "decrypt"],
  );
}

async function createCipher(dataKey: Uint8Array<ArrayBuffer>, salt: string): Promise<RecordCipher> {
  const material = await crypto.subtle.importKey("raw", dataKey, "HKDF", false, ["deriveKey"]);
  const branch = (info: string) => ({
    name: "HKDF",
    hash: "SHA-256",
    salt: new Uint8Array(0),
    info: utf8.encode(`concordat-vault.1 ${info}`),
  });
  const records = await crypto.subtle.deriveKey(branch("records"), material, { name: "AES-GCM", length: 256 }, false, [
    "encrypt",
    "decrypt",
  ]);
  const names = await crypto.subtle.deriveKey(
    branch("names"),
    material,
    { name: "HMAC", hash: "SHA-256", length: 256 },
    false,
    ["sign"],
  );
  const binding = (name: string) => `concordat-vault.1 record ${name}`;
  return {
    salt,
    async storeKey(name) {
      return `record:${base64urlnopad.encode(new Uint8Array(await crypto.subtle.sign("HMAC", names, utf8.encode(name))))}`;
    },
    async encrypt(name, text) {
      return await encryptOctets(records, utf8.encode(text), binding(name));
    },
    async decrypt(name, encrypted) {
      const octets = await decryptOctets(records, encrypted, binding(name)).catch((cause) => {
        throw new VaultError("vault_damaged", "A record of the vault cannot be decrypted; restore it from a copy.", {
          cause,
        });
      });
      return new TextDecoder().decode(octets);
    },
  };
}

async function encryptOctets(key: WebCryptoKey, octets: Uint8Array<ArrayBuffer>, binding: string): Promise<string> {
  const iv = crypto.getRandomValues(new Uint8Array(ivOctets));
  const parameters = { name: "AES-GCM", iv, additionalData: utf8.encode(binding) };
  const ciphertext = new Uint8Array(await crypto.subtle.encrypt(parameters, key, octets));
  const whole = new Uint8Array(ivOctets + ciphertext.length);
  whole.set(iv);
  whole.set(ciphertext, ivOctets);
  return base64urlnopad.encode(whole);
}

async function decryptOctets(key: WebCryptoKey, text: string, binding: string): Promise<Uint8Array<ArrayBuffer>> {
  const whole = new Uint8Array(base64urlnopad.decode(text));
  const parameters = { name: "AES-GCM", iv: whole.subarray(0, ivOctets), additionalData: utf8.encode(binding) };
  return new Uint8Array(await crypto.subtle.decrypt(parameters, key, whole.subarray(ivOctets)));
}
