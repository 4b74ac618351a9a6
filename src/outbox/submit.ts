/** Writes of platforms: authorise, change the registry, append what others are told; one transaction, then the lanes wake. */
import type { JudgedShape, Project } from "../protocol/objects.ts";
import type { Written } from "../registry/announcements.ts";
import type { PlatformCaller } from "../registry/caller.ts";
import {
  declareProject,
  deleteProject,
  type RevisionKind,
  reviseProject,
  type WriteContext,
} from "../registry/projects.ts";
import type { Tx } from "../storage/database.ts";
import { appendAnnouncements } from "./append.ts";
import type { Commit } from "./commit.ts";

export type ProjectWrite =
  | { readonly verb: "declare"; readonly judged: JudgedShape<Project> }
  | { readonly verb: RevisionKind; readonly id: string; readonly judged: JudgedShape<Project> }
  | { readonly verb: "delete"; readonly id: string };

export interface Submitted {
  /** Local key of the object. */
  readonly id: string;
  readonly changed: boolean;
  /** The activity that tells of it; null when nothing changed. */
  readonly activityId: string | null;
}

/** A platform declares, revises or deletes a project of its own. @throws {Problem} see `registry/projects` */
export async function submitProject(commit: Commit, caller: PlatformCaller, write: ProjectWrite): Promise<Submitted> {
  return await commit(async (tx, context) => {
    const written = await writeProject(tx, caller, write, context);
    const { ids, lanes } = await appendAnnouncements(tx, context, written.announcements);
    return { value: { id: written.id, changed: written.changed, activityId: ids[0] ?? null }, lanes };
  });
}

function writeProject(tx: Tx, caller: PlatformCaller, write: ProjectWrite, context: WriteContext): Promise<Written> {
  if (write.verb === "declare") return declareProject(tx, caller, write.judged, context);
  if (write.verb === "delete") return deleteProject(tx, caller, write.id, context);
  return reviseProject(tx, caller, write.id, write.judged, write.verb, context);
}
