/** The SDK's client over the vault of this machine. */
import { type Client, createClient } from "../sdk/client.ts";
import type { CliContext } from "./context.ts";
import { openOwnVault } from "./vault-access.ts";

/** @throws {VaultError} `vault_missing`, `vault_passphrase`, … */
export async function openClient(context: CliContext): Promise<Client> {
  return createClient({ vault: await openOwnVault(context), fetch: context.fetch, clock: context.clock });
}
