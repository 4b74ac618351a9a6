/** Writes of platforms: authorise, change the registry, append what others are told; one transaction, then the lanes wake. */
import type { JudgedShape, Project } from "../protocol/objects.ts";
import type { PlatformCaller } from "../registry/caller.ts";
import {
  declareProject,
  deleteProject,
  type RevisionKind,
  reviseProject,
  type WriteContext,
  type Written,
} from "../registry/projects.ts";
import type { Tx } from "../storage/database.ts";
import { appendAnnouncements } from "./append.ts";
import { commitChange, type OutboxDependencies } from "./commit.ts";

export type ProjectWrite =
  | { readonly verb: "declare"; readonly judged: JudgedShape<Project> }
  | { readonly verb: RevisionKind; readonly id: string; readonly judged: JudgedShape<Project> }
  | { readonly verb: "delete"; readonly id: string };

/** A platform declares, revises or deletes a project of its own. @throws {Problem} see `registry/projects` */
export async function submitProject(
  dependencies: OutboxDependencies,
  caller: PlatformCaller,
  write: ProjectWrite,
): Promise<Written> {
  return await commitChange(dependencies, async (tx, context) => {
    const written = await writeProject(tx, caller, write, context);
    const lanes = await appendAnnouncements(tx, context, caller.uri, written.announcements);
    return { value: written, lanes };
  });
}

function writeProject(tx: Tx, caller: PlatformCaller, write: ProjectWrite, context: WriteContext): Promise<Written> {
  if (write.verb === "declare") return declareProject(tx, caller, write.judged, context);
  if (write.verb === "delete") return deleteProject(tx, caller, write.id, context);
  return reviseProject(tx, caller, write.id, write.judged, write.verb, context);
}
