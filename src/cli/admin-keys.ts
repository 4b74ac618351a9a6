/** `admin keys`: access keys of platforms. */
import type { Command } from "commander";
import type { JsonObject } from "../protocol/objects.ts";
import type { PlatformRight } from "../protocol/rights.ts";
import { findPlatform, receiveKey } from "./admin-platforms.ts";
import { openAdmin, originOption, pickItem } from "./admin-session.ts";
import { parseInstant, parseRights } from "./arguments.ts";
import { addCommand, addGroup, type CliContext } from "./context.ts";

interface IssueOptions {
  readonly origin?: string;
  readonly label?: string;
  readonly from?: string;
  readonly until?: string;
  readonly rights?: readonly PlatformRight[];
  readonly accessKeyFile?: string;
}

export function addKeyCommands(admin: Command, context: CliContext): void {
  const { output } = context;
  const keys = addGroup(admin, "keys", "access keys of platforms");

  addCommand(keys, "issue", "issue another access key; those before it stay valid")
    .argument("<handle>", "the platform")
    .option("--label <label>", "what the key is for")
    .option("--from <instant>", "from when it is valid", parseInstant)
    .option("--until <instant>", "until when it is valid", parseInstant)
    .option("--rights <rights>", "a subset of the platform's rights, separated by commas", parseRights)
    .option("--access-key-file <file>", "write the access key to this new file instead of printing it")
    .option(...originOption)
    .action(async (handle: string, options: IssueOptions) => {
      const client = await openAdmin(context, options.origin);
      const { id } = await findPlatform(client, handle);
      const body = {
        platform_id: id,
        label: options.label,
        start_datetime: options.from,
        end_datetime: options.until,
        rights: options.rights,
      };
      const { issued, field } = await receiveKey(
        options.accessKeyFile,
        async () => (await client.request("POST", "/platforms/access-keys", { body })) as JsonObject & { key: string },
        ({ key }) => key,
      );
      const { key: _key, ...rest } = issued;
      output.record(options.accessKeyFile === undefined ? issued : rest, [
        ["id", issued.id],
        ["label", issued.label],
        ["valid from", issued.start_datetime],
        ["valid until", issued.end_datetime],
        field,
      ]);
    });

  addCommand(keys, "list", "access keys, never their secrets")
    .argument("[handle]", "only those of this platform")
    .option(...originOption)
    .action(async (handle: string | undefined, options: { origin?: string }) => {
      const client = await openAdmin(context, options.origin);
      const platform = handle === undefined ? undefined : await findPlatform(client, handle);
      output.table(
        await client.list("/platforms/access-keys", { platform_id: platform?.id }),
        [
          { title: "id", value: (row) => row.id, whole: true },
          { title: "label", value: (row) => row.label },
          { title: "until", value: (row) => String(row.end_datetime).slice(0, 10) },
          { title: "revoked", value: (row) => row.archived_at !== null },
          { title: "begins", value: (row) => row.prefix },
        ],
        "There are no access keys.",
      );
    });

  addCommand(keys, "revoke", "end an access key now, with every session that it opened")
    .argument("<key>", "its id, or the characters that it begins with")
    .option(...originOption)
    .action(async (key: string, options: { origin?: string }) => {
      const client = await openAdmin(context, options.origin);
      const { id } = pickItem(await client.list("/platforms/access-keys"), ["id", "prefix"], key, "access key");
      const revoked = await client.request("PATCH", `/platforms/access-keys/${id}/archive`, { body: {} });
      output.done(revoked, `The access key ${key} is revoked.`);
    });
}
