/** The SDK's client over the vault of this machine. */
import { type Client, createClient } from "../sdk/client.ts";
import type { MissingInstance } from "../sdk/listing.ts";
import type { CliContext } from "./context.ts";
import { CliError } from "./prompt.ts";
import { openOwnVault } from "./vault-access.ts";

/** @throws {VaultError} `vault_missing`, `vault_passphrase`, … */
export async function openClient(context: CliContext): Promise<Client> {
  return createClient({ vault: await openOwnVault(context), fetch: context.fetch, clock: context.clock });
}

/**
 * Ends a command whose list lacks the rows of an instance: what is there was printed, but it is not all.
 * @throws {CliError} `instances_missing`
 */
export function reportMissing(unreachable: readonly MissingInstance[]): void {
  if (unreachable.length === 0) return;
  const names = unreachable.map(({ instance, message }) => `${instance} (${message})`);
  throw new CliError(
    "instances_missing",
    `The list is without what is on ${names.join(", ")}. Try again when \`concordat instances\` shows it active; where the access key ended, join again with another one.`,
    { unreachable },
  );
}
