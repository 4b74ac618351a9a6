/** `projects`: declare, read, change and share, on all instances of this vault. */
import type { Command } from "commander";
import { actorIds } from "../protocol/ids.ts";
import { selectMembership } from "../sdk/memberships.ts";
import { projectChangeSchema, projectFileSchema } from "../sdk/project-file.ts";
import { findProject, listProjects, type ProjectRow } from "../sdk/project-views.ts";
import {
  declareProject,
  deleteProject,
  editProject,
  openProject,
  shareProject,
  unshareProject,
} from "../sdk/projects.ts";
import { findRecipient, recallKeys } from "../sdk/trust.ts";
import { type PlatformAddress, parseAddress, parseInstant } from "./arguments.ts";
import { addGroup, addInstanceCommand, type CliContext } from "./context.ts";
import { readJsonFile } from "./json-file.ts";
import { hostOf } from "./output.ts";
import { openClient, reportMissing } from "./platform-client.ts";
import { CliError, confirm } from "./prompt.ts";

interface InstanceOptions {
  readonly instance?: string;
}

interface ShareOptions extends InstanceOptions {
  readonly editable?: boolean;
  readonly until?: string;
}

export function addProjectCommands(program: Command, context: CliContext): void {
  const { output } = context;
  const projects = addGroup(program, "projects", "projects, own and shared");

  addInstanceCommand(projects, "create", "declare a project; its sealed part is encrypted here")
    .requiredOption(
      "--file <file>",
      "JSON: code and sealed ({} when nothing is confidential), and optionally name, status, start_date, end_date, entities, frameworks",
    )
    .action(async (options: InstanceOptions & { file: string }) => {
      const file = await readJsonFile(options.file, projectFileSchema);
      const client = await openClient(context);
      const membership = selectMembership(await client.vault.read(), options.instance);
      const declared = await declareProject(client, membership, file);
      output.record(declared, fieldsOf(declared));
    });

  addInstanceCommand(projects, "list", "projects of all memberships")
    .option("--code <code>", "only those with this code")
    .action(async (options: InstanceOptions & { code?: string }) => {
      const { items, unreachable } = await listProjects(await openClient(context), options);
      output.table(
        items,
        [
          { title: "instance", value: ({ instance }) => hostOf(instance) },
          { title: "code", value: (row) => row.code },
          { title: "name", value: (row) => row.name },
          { title: "access", value: (row) => row.access },
          { title: "status", value: (row) => row.status },
          { title: "rev", value: (row) => row.revision },
        ],
        unreachable.length > 0 ? "" : "There are no projects yet: concordat projects create --file project.json",
      );
      reportMissing(unreachable);
    });

  addInstanceCommand(projects, "show", "one project, opened with this vault's keys")
    .argument("<project>", "its code, id or URI")
    .action(async (name: string, options: InstanceOptions) => {
      const client = await openClient(context);
      const { membership, project } = await findProject(client, name, options.instance);
      const opened = await openProject(client, membership, project.id);
      output.record(opened, [
        ...fieldsOf(opened.project),
        ["sealed by", `${opened.sealed_by.actor} (${opened.sealed_by.fingerprint}, ${opened.sealed_by.status})`],
        ["issued at", opened.issued_at],
        ["sealed part", JSON.stringify(opened.content, null, 2)],
      ]);
    });

  addInstanceCommand(projects, "edit", "make the next revision of a project, own or shared as editable")
    .argument("<project>", "its code, id or URI")
    .requiredOption(
      "--file <file>",
      "JSON: what changes, of what create takes; sealed is replaced as a whole, null takes another out of the clear part",
    )
    .action(async (name: string, options: InstanceOptions & { file: string }) => {
      const change = await readJsonFile(options.file, projectChangeSchema);
      const client = await openClient(context);
      const { membership, project } = await findProject(client, name, options.instance);
      const edited = await editProject(client, membership, project.id, change);
      output.record(edited, fieldsOf(edited));
      if (!edited.applied) output.note(`Sent to the node of ${edited.owner_uri}: it is applied there, and comes back.`);
    });

  addInstanceCommand(projects, "share", "let another platform read a project; a second time it changes the grant")
    .argument("<project>", "its code, id or URI")
    .argument("<platform>", "whom, such as hcl@lyon.example", parseAddress)
    .option("--editable", "it may also change the project, but not whom it is shared with")
    .option("--until <instant>", "when its access ends", parseInstant)
    .action(async (name: string, address: PlatformAddress, options: ShareOptions) => {
      const client = await openClient(context);
      const { membership, project } = await findProject(client, name, options.instance);
      const { recipient } = await findRecipient(client, address, membership.origin);
      const shared = await shareProject(client, membership, project.id, {
        platform: recipient,
        mode: options.editable === true ? "editable" : "readonly",
        ...(options.until === undefined ? {} : { expires: options.until }),
      });
      const mode = options.editable === true ? "editable" : "read-only";
      const arrival = isOf(recipient.uri, membership)
        ? "it is on the same instance, which needs no receipt"
        : "receipts list shows when its node has it";
      output.done(
        shared,
        `${shared.code} is shared with ${recipient.name} (${recipient.uri}), ${mode}, as revision ${shared.revision}; ${arrival}.`,
      );
      const keys = await recallKeys(client, recipient.uri);
      if (keys?.status === "unverified") {
        output.note(
          `Nobody has compared its key yet (${keys.fingerprint}): concordat keys verify ${address.handle}@${address.host}`,
        );
      }
    });

  addInstanceCommand(projects, "unshare", "end another platform's access to an own project")
    .argument("<project>", "its code, id or URI")
    .argument("<platform>", "whose, such as hcl@lyon.example", parseAddress)
    .action(async (name: string, address: PlatformAddress, options: InstanceOptions) => {
      const client = await openClient(context);
      const { membership, project } = await findProject(client, name, options.instance);
      const grantee = project.grants.find(({ platform }) => isAt(platform, address));
      if (grantee === undefined) {
        throw new CliError("not_shared", `${project.code} is not shared with ${address.handle}@${address.host}.`);
      }
      const unshared = await unshareProject(client, membership, project.id, grantee.platform);
      const end = isOf(grantee.platform, membership)
        ? "it reads nothing more"
        : "its node is told, and a receipt says when it has taken it";
      output.done(
        unshared,
        `${unshared.code} is no longer shared with ${grantee.platform}: ${end}. What was opened stays with whom opened it.`,
      );
    });

  addInstanceCommand(projects, "delete", "delete an own project, everywhere and for good")
    .argument("<project>", "its code, id or URI")
    .option("--yes", "do not ask")
    .action(async (name: string, options: InstanceOptions & { yes?: boolean }) => {
      const client = await openClient(context);
      const { membership, project } = await findProject(client, name, options.instance);
      await confirm(context.prompt, `Delete ${project.code} (${project.uri}) for everybody?`, options.yes);
      await deleteProject(client, membership, project.id);
      output.done({ uri: project.uri, deleted: true }, `${project.code} is deleted; its grantees are told.`);
    });
}

/** Is the membership's instance this platform's home? */
const isOf = (actor: string, { origin }: { readonly origin: string }) => new URL(actor).origin === origin;

const isAt = (actor: string, { handle, host }: PlatformAddress) =>
  new URL(actor).host === host && actor === actorIds.platform(new URL(actor).origin, handle);

function fieldsOf(project: ProjectRow): readonly (readonly [string, unknown])[] {
  const dates = [project.start_date, project.end_date].map((date) => date ?? "…").join(" to ");
  return [
    ["instance", project.instance],
    ["code", project.code],
    ["name", project.name],
    ["uri", project.uri],
    ["status", project.status],
    ["dates", dates],
    ["owner", project.owner_platform ?? project.owner_uri],
    ["access", project.access],
    ["shared with", project.grants.map((grant) => grant.name ?? grant.platform)],
    ["revision", project.revision],
  ];
}
