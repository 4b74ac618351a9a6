/** `join`, `leave`, `instances`, `vault status`: memberships of this vault. */
import type { Command } from "commander";
import { createClient } from "../sdk/client.ts";
import {
  checkAccess,
  joinInstance,
  leaveInstance,
  listInstances,
  refuseOtherIdentity,
  selectMembership,
} from "../sdk/memberships.ts";
import { parseOrigin } from "./arguments.ts";
import { addCommand, addGroup, addInstanceCommand, type CliContext } from "./context.ts";
import { openClient } from "./platform-client.ts";
import { confirm, readSecret } from "./prompt.ts";
import { hasOwnVault, openOrCreateVault, openOwnVault } from "./vault-access.ts";

export function addJoinCommands(program: Command, context: CliContext): void {
  const { output } = context;

  addCommand(program, "join", "join an instance with this vault's identity; makes vault and identity at the first time")
    .argument("<origin>", "the instance, such as https://ouest.example", parseOrigin)
    .requiredOption("--handle <handle>", "the platform's handle there")
    .option("--access-key-file <file>", "file that holds the access key; otherwise it is asked for")
    .action(async (origin: string, options: { handle: string; accessKeyFile?: string }) => {
      const { handle } = options;
      const accessKey = await readSecret(context.prompt, {
        file: options.accessKeyFile,
        option: "--access-key-file",
        question: `Access key of ${handle} at ${origin}`,
      });
      const request = { origin, handle, accessKey };
      // Before a vault is made: a join that is refused leaves none behind.
      if (!(await hasOwnVault(context))) refuseOtherIdentity(await checkAccess(context, request), []);
      const vault = await openOrCreateVault(context);
      const client = createClient({ vault, fetch: context.fetch, clock: context.clock });
      const joined = await joinInstance(client, request);
      output.record(joined, [
        ["instance", origin],
        ["platform", `${joined.handle} (${joined.name})`],
        ["actor", joined.actor],
        ["fingerprint", joined.fingerprint],
        ["identity", joined.identity_created ? "new" : "the one of this vault"],
      ]);
    });

  addCommand(program, "instances", "memberships of this vault, and whether their instances answer").action(async () => {
    output.table(
      await listInstances(await openClient(context)),
      [
        { title: "instance", value: (row) => row.origin, whole: true },
        { title: "handle", value: (row) => row.handle },
        { title: "name", value: (row) => row.name },
        { title: "state", value: (row) => row.state },
        { title: "keys published", value: (row) => row.keys_published },
      ],
      "No memberships yet: concordat join ORIGIN --handle HANDLE",
    );
  });

  addInstanceCommand(program, "leave", "leave an instance for good: what this platform owns there is deleted")
    .option("--yes", "do not ask")
    .action(async (options: { instance?: string; yes?: boolean }) => {
      const client = await openClient(context);
      const membership = selectMembership(await client.vault.read(), options.instance);
      const { actor, origin } = membership;
      await confirm(context.prompt, `Leave ${origin}, and delete everything that ${actor} owns there?`, options.yes);
      await leaveInstance(client, membership);
      output.done({ instance: origin, actor }, `${actor} has left; the vault keeps its keys.`);
    });

  const vaultGroup = addGroup(program, "vault", "the vault on this machine");
  addCommand(vaultGroup, "status", "what the vault holds").action(async () => {
    const state = await (await openOwnVault(context)).read();
    const status = {
      directory: context.vaultDir,
      identity: state.identity?.kid ?? null,
      encryption_keys: state.encryption.length,
      recovery: state.recovery,
      bundles: state.bundles.length,
      memberships: state.memberships.map(({ origin, handle }) => ({ origin, handle })),
      pins: Object.keys(state.pins).length,
    };
    output.record(status, [
      ["directory", status.directory],
      ["identity", status.identity ?? "none yet"],
      ["encryption keys", status.encryption_keys],
      ["recovery key", status.recovery ?? "none: keep a copy of the vault"],
      ["memberships", status.memberships.map(({ origin, handle }) => `${handle}@${new URL(origin).host}`)],
      ["known platforms", status.pins],
    ]);
  });
}
