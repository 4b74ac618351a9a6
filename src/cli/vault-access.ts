/** The vault on this machine: a LevelDB directory readable by its owner alone, opened for moments. */
import { existsSync } from "node:fs";
import { access, chmod, constants, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { Level } from "level";
import { createVault, type OpenStore, openVault, type Vault, VaultError, vaultExists } from "../sdk/vault.ts";
import type { CliContext } from "./context.ts";
import { CliError } from "./prompt.ts";

/** How long to wait for another command that has the vault open: its moments are short. */
const patience = { attempts: 100, milliseconds: 50 };

/** Opens the store in `directory`; waits for other commands. Rejects with `vault_busy`, `vault_damaged`, `unwritable_directory`. */
export function levelStore(directory: string): OpenStore {
  return async () => {
    await makeOwnDirectory(directory);
    const database = new Level<string, string>(join(directory, "vault"));
    for (let attempt = 1; ; attempt += 1) {
      try {
        await database.open();
        break;
      } catch (error) {
        const { cause } = error as { cause?: { code?: string } };
        if (cause?.code !== "LEVEL_LOCKED") {
          throw new VaultError("vault_damaged", `The vault in ${directory} cannot be opened.`, { cause: error });
        }
        if (attempt === patience.attempts) {
          throw new VaultError("vault_busy", `Another program keeps the vault in ${directory} open; end it first.`);
        }
        await pause(patience.milliseconds);
      }
    }
    return {
      get: (key) => database.get(key),
      put: (key, value) => database.put(key, value, { sync: true }),
      close: () => database.close(),
    };
  };
}

async function makeOwnDirectory(directory: string): Promise<void> {
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await chmod(directory, 0o700);
    await access(directory, constants.W_OK);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new CliError(
      "unwritable_directory",
      `The vault's directory ${directory} cannot be made or protected (${code}); set CONCORDAT_VAULT to one that this user owns.`,
      { directory },
      { cause },
    );
  }
}

const instead = "set CONCORDAT_VAULT_PASSPHRASE or CONCORDAT_VAULT_PASSPHRASE_FILE";

/** Is there a vault on this machine? Looks without making a directory. */
export async function hasOwnVault({ vaultDir }: CliContext): Promise<boolean> {
  return existsSync(join(vaultDir, "vault")) && (await vaultExists(levelStore(vaultDir)));
}

/** The vault of this machine. @throws {VaultError} `vault_missing`, `vault_passphrase`, … */
export async function openOwnVault(context: CliContext): Promise<Vault> {
  // Looked for first, so that reading where there is no vault makes no directory.
  if (!existsSync(join(context.vaultDir, "vault"))) {
    throw new VaultError(
      "vault_missing",
      `There is no vault in ${context.vaultDir} yet; \`concordat join\` makes one.`,
    );
  }
  const passphrase = context.passphrase ?? (await context.prompt.secret("Passphrase of the vault", instead));
  return await openVault(levelStore(context.vaultDir), passphrase);
}

/** The vault of this machine, made when there is none; a new passphrase is asked for twice. */
export async function openOrCreateVault(context: CliContext): Promise<Vault> {
  if (await hasOwnVault(context)) return await openOwnVault(context);
  const passphrase = context.passphrase ?? (await askNewPassphrase(context));
  refuseWeak(passphrase);
  const vault = await createVault(levelStore(context.vaultDir), passphrase);
  context.output.note(
    `A new vault is in ${context.vaultDir}. Keep a copy of it and of its passphrase: nobody else can read for you.`,
  );
  return vault;
}

const leastCharacters = 12;

/** For a new vault, wherever the passphrase comes from. @throws {CliError} `weak_passphrase` */
function refuseWeak(passphrase: string): void {
  if (passphrase.length >= leastCharacters) return;
  throw new CliError(
    "weak_passphrase",
    `A vault's passphrase has at least ${leastCharacters} characters; no vault was made.`,
  );
}

async function askNewPassphrase({ prompt }: CliContext): Promise<string> {
  const passphrase = await prompt.secret(
    `Passphrase for the new vault, ${leastCharacters} characters or more`,
    instead,
  );
  refuseWeak(passphrase);
  const again = await prompt.secret("The same again", instead);
  if (again !== passphrase) throw new CliError("passphrase_differs", "The two passphrases differ; nothing was made.");
  return passphrase;
}
