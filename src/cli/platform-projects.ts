/** `projects`: declare, read, change and share, on all instances of this vault. */
import type { Command } from "commander";
import { selectMembership } from "../sdk/memberships.ts";
import { projectChangeSchema, projectFileSchema } from "../sdk/project-file.ts";
import { findProject, listProjects, type ProjectRow } from "../sdk/project-views.ts";
import { declareProject, editProject, openProject, shareProject } from "../sdk/projects.ts";
import { findRecipient } from "../sdk/trust.ts";
import { type PlatformAddress, parseAddress, parseInstant } from "./arguments.ts";
import { addGroup, addInstanceCommand, type CliContext } from "./context.ts";
import { readJsonFile } from "./json-file.ts";
import { hostOf } from "./output.ts";
import { openClient, reportMissing } from "./platform-client.ts";

interface InstanceOptions {
  readonly instance?: string;
}

export function addProjectCommands(program: Command, context: CliContext): void {
  const { output } = context;
  const projects = addGroup(program, "projects", "projects, own and shared");

  addInstanceCommand(projects, "create", "declare a project; its sealed part is encrypted here")
    .requiredOption("--file <file>", "JSON: {code, name, status, start_date, end_date, entities, frameworks, sealed}")
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

  addInstanceCommand(projects, "edit", "make the next revision of an own project")
    .argument("<project>", "its code, id or URI")
    .requiredOption("--file <file>", "JSON: what changes; null takes a member out of the clear part")
    .action(async (name: string, options: InstanceOptions & { file: string }) => {
      const change = await readJsonFile(options.file, projectChangeSchema);
      const client = await openClient(context);
      const { membership, project } = await findProject(client, name, options.instance);
      const edited = await editProject(client, membership, project.id, change);
      output.record(edited, fieldsOf(edited));
    });

  addInstanceCommand(projects, "share", "let another platform read a project")
    .argument("<project>", "its code, id or URI")
    .argument("<platform>", "whom, such as hcl@lyon.example", parseAddress)
    .option("--until <instant>", "when its access ends", parseInstant)
    .action(async (name: string, address: PlatformAddress, options: InstanceOptions & { until?: string }) => {
      const client = await openClient(context);
      const { membership, project } = await findProject(client, name, options.instance);
      const { recipient } = await findRecipient(client, address, membership.origin);
      const shared = await shareProject(client, membership, project.id, {
        platform: recipient,
        mode: "readonly",
        ...(options.until === undefined ? {} : { expires: options.until }),
      });
      output.done(shared, `${shared.code} is shared with ${recipient.name} (${recipient.uri}), read-only.`);
    });
}

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
