/** A platform of the demo: its vault, and the SDK over it. */
import { randomBytes } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createClient } from "../../sdk/client.ts";
import type { Client, JsonObject, Membership, OpenedProject } from "../../sdk/index.ts";
import { joinInstance, selectMembership } from "../../sdk/memberships.ts";
import { findProject } from "../../sdk/project-views.ts";
import { openProject } from "../../sdk/projects.ts";
import { createVault } from "../../sdk/vault.ts";
import { levelStore } from "../vault-access.ts";
import type { DemoNode } from "./node-process.ts";

export interface DemoPlatform {
  readonly handle: string;
  readonly name: string;
  readonly client: Client;
  readonly vaultDirectory: string;
  readonly passphraseFile: string;
}

/** Makes a vault under a passphrase of its own, kept in a file (0600) for whoever looks around afterwards. */
export async function preparePlatform(directory: string, handle: string, name: string): Promise<DemoPlatform> {
  const vaultDirectory = join(directory, `${handle}.vault`);
  const passphraseFile = join(directory, `${handle}.passphrase`);
  const passphrase = randomBytes(18).toString("base64url");
  await mkdir(vaultDirectory, { mode: 0o700 });
  await writeFile(passphraseFile, `${passphrase}\n`, { mode: 0o600 });
  const vault = await createVault(levelStore(vaultDirectory), passphrase);
  return {
    handle,
    name,
    client: createClient({ vault, fetch, clock: () => new Date() }),
    vaultDirectory,
    passphraseFile,
  };
}

/** The administrator gives access, the platform joins with it; gives the fingerprint of its identity. */
export async function admitPlatform(platform: DemoPlatform, node: DemoNode): Promise<string> {
  const { handle, name, client } = platform;
  const body = { name, handle, access_key: { label: "demo" } };
  const created = (await node.admin.request("POST", "/platforms", { body })) as JsonObject & {
    readonly access_keys: readonly { readonly key: string }[];
  };
  const accessKey = created.access_keys[0]?.key ?? "";
  const { fingerprint } = await joinInstance(client, { origin: node.origin, handle, accessKey });
  return fingerprint;
}

export async function membershipAt({ client }: DemoPlatform, node: DemoNode): Promise<Membership> {
  return selectMembership(await client.vault.read(), node.origin);
}

/** Finds a project by its code on one instance and opens it with the vault's keys. */
export async function openByCode(platform: DemoPlatform, node: DemoNode, code: string): Promise<OpenedProject> {
  const { membership, project } = await findProject(platform.client, code, node.origin);
  return await openProject(platform.client, membership, project.id);
}
