/** `admin platforms`: which platforms get access, with which rights. */
import { open, rm } from "node:fs/promises";
import type { Command } from "commander";
import { actorIds } from "../protocol/ids.ts";
import type { JsonObject } from "../protocol/objects.ts";
import type { PlatformRight } from "../protocol/rights.ts";
import type { RestClient } from "../sdk/rest.ts";
import { openAdmin, originOption } from "./admin-session.ts";
import { parseInstant, parseRights } from "./arguments.ts";
import { addCommand, addGroup, type CliContext } from "./context.ts";
import { CliError, confirm } from "./prompt.ts";

interface AdminOptions {
  readonly origin?: string;
}

interface CreateOptions extends AdminOptions {
  readonly handle?: string;
  readonly rights?: readonly PlatformRight[];
  readonly keyLabel?: string;
  readonly keyFrom?: string;
  readonly keyUntil?: string;
  readonly accessKeyFile?: string;
}

/** The answer to the creation of a platform: its first access key is in it. */
interface CreatedPlatform extends JsonObject {
  readonly access_keys: readonly [{ readonly key: string; readonly end_datetime: string }];
}

/**
 * The local platform of that handle.
 * @throws {CliError} `not_found`
 */
export async function findPlatform(
  client: RestClient,
  handle: string,
): Promise<JsonObject & { readonly id: string; readonly uri: string; readonly rights: readonly string[] }> {
  const [platform] = await client.list("/platforms", { uri: actorIds.platform(client.origin, handle) });
  if (platform === undefined) {
    throw new CliError("not_found", `There is no platform ${handle} at ${client.origin}.`, { handle });
  }
  return platform as JsonObject & { id: string; uri: string; rights: readonly string[] };
}

/**
 * Has an access key issued and hands it over, once: into a new file readable by its owner alone, or on stdout. The file
 * is made first, so that no key is issued that cannot be kept.
 * @throws {CliError} `unwritable_file`
 */
export async function receiveKey<T extends JsonObject>(
  file: string | undefined,
  issue: () => Promise<T>,
  keyOf: (issued: T) => string,
): Promise<{ readonly issued: T; readonly field: readonly [string, unknown] }> {
  if (file === undefined) {
    const issued = await issue();
    return { issued, field: ["access key", `${keyOf(issued)}\n(shown once: the node keeps only a hash of it)`] };
  }
  const opened = await open(file, "wx", 0o600).catch((cause: NodeJS.ErrnoException) => {
    const message = `${file} cannot be made (${cause.code}); no key was issued. It must be a new file.`;
    throw new CliError("unwritable_file", message, { file }, { cause });
  });
  try {
    const issued = await issue();
    await opened.writeFile(`${keyOf(issued)}\n`);
    return { issued, field: ["access key", `written to ${file}`] };
  } catch (error) {
    await rm(file, { force: true });
    throw error;
  } finally {
    await opened.close();
  }
}

const handleArgument = ["<handle>", "the platform's handle, such as chu-rennes"] as const;

export function addPlatformCommands(admin: Command, context: CliContext): void {
  const { output } = context;
  const platforms = addGroup(admin, "platforms", "platforms of this instance and their rights");

  addCommand(platforms, "create", "give a platform access: account, rights, first access key")
    .argument("<name>", "name shown to people")
    .option("--handle <handle>", "slug; made from the name when absent")
    .option("--rights <rights>", "rights separated by commas; all but holding and cataloguing when absent", parseRights)
    .option("--key-label <label>", "label of the first access key")
    .option("--key-from <instant>", "from when the access key is valid", parseInstant)
    .option("--key-until <instant>", "until when the access key is valid", parseInstant)
    .option("--access-key-file <file>", "write the access key to this new file instead of printing it")
    .option(...originOption)
    .action(async (name: string, options: CreateOptions) => {
      const client = await openAdmin(context, options.origin);
      const accessKey = {
        label: options.keyLabel,
        start_datetime: options.keyFrom,
        end_datetime: options.keyUntil,
      };
      const body = { name, handle: options.handle, rights: options.rights, access_key: accessKey };
      const { issued: created, field } = await receiveKey(
        options.accessKeyFile,
        async () => (await client.request("POST", "/platforms", { body })) as CreatedPlatform,
        ({ access_keys: [key] }) => key.key,
      );
      const [{ end_datetime: until }] = created.access_keys;
      const shown = options.accessKeyFile === undefined ? created : withoutKeys(created);
      output.record(shown, [...fieldsOf(created), field, ["valid until", until]]);
    });

  addCommand(platforms, "list", "platforms of this instance")
    .option(...originOption)
    .action(async (options: AdminOptions) => {
      const client = await openAdmin(context, options.origin);
      output.table(
        await client.list("/platforms"),
        [
          { title: "handle", value: (row) => row.handle, whole: true },
          { title: "name", value: (row) => row.name },
          { title: "status", value: (row) => row.status },
          { title: "keys published", value: (row) => row.key_bundle !== null },
          { title: "owned", value: (row) => row.owned_project_count },
          { title: "shared", value: (row) => row.shared_project_count },
        ],
        "There are no platforms yet: concordat admin platforms create NAME",
      );
    });

  addCommand(platforms, "show", "one platform")
    .argument(...handleArgument)
    .option(...originOption)
    .action(async (handle: string, options: AdminOptions) => {
      const platform = await findPlatform(await openAdmin(context, options.origin), handle);
      output.record(platform, fieldsOf(platform));
    });

  addStatus("suspend", "suspended", "suspend a platform: its keys open nothing until it is resumed");
  addStatus("resume", "active", "resume a suspended platform");

  addCommand(platforms, "remove", "remove a platform for good, with its projects; its handle is never given out again")
    .argument(...handleArgument)
    .option("--yes", "do not ask")
    .option(...originOption)
    .action(async (handle: string, options: AdminOptions & { yes?: boolean }) => {
      const client = await openAdmin(context, options.origin);
      const platform = await findPlatform(client, handle);
      await confirm(context.prompt, `Remove ${platform.uri} and everything that it owns, for good?`, options.yes);
      await client.request("DELETE", `/platforms/${platform.id}`);
      output.done({ uri: platform.uri, status: "removed" }, `${handle} is removed; its peers are told.`);
    });

  addCommand(platforms, "rights", "show a platform's rights, or replace them")
    .argument(...handleArgument)
    .argument("[rights]", "the rights that it has from now on, separated by commas", parseRights)
    .option(...originOption)
    .action(async (handle: string, rights: readonly PlatformRight[] | undefined, options: AdminOptions) => {
      const client = await openAdmin(context, options.origin);
      const platform = await findPlatform(client, handle);
      const result = rights === undefined ? platform : await change(client, platform.id, { rights });
      output.record(result, [
        ["platform", handle],
        ["rights", result.rights],
      ]);
    });

  function addStatus(verb: string, status: "active" | "suspended", description: string): void {
    addCommand(platforms, verb, description)
      .argument(...handleArgument)
      .option(...originOption)
      .action(async (handle: string, options: AdminOptions) => {
        const client = await openAdmin(context, options.origin);
        const platform = await findPlatform(client, handle);
        output.done(await change(client, platform.id, { status }), `${handle} is ${status} now.`);
      });
  }
}

async function change(client: RestClient, id: string, body: JsonObject): Promise<JsonObject> {
  return (await client.request("PATCH", `/platforms/${id}`, { body })) as JsonObject;
}

function withoutKeys(created: CreatedPlatform): JsonObject {
  return { ...created, access_keys: created.access_keys.map(({ key: _key, ...rest }) => rest) };
}

function fieldsOf(platform: JsonObject): readonly (readonly [string, unknown])[] {
  const bundle = platform.key_bundle as { seq: number; fingerprint: string; expires_at: string } | null | undefined;
  return [
    ["handle", platform.handle],
    ["name", platform.name],
    ["uri", platform.uri],
    ["status", platform.status],
    ["rights", platform.rights],
    ["fingerprint", bundle?.fingerprint ?? "no key bundle published yet"],
  ];
}
