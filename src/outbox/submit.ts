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
import type { Database, Tx } from "../storage/database.ts";
import { appendAnnouncements } from "./append.ts";
import { changeOnce, type Once } from "./once.ts";

export interface OutboxDependencies {
  readonly database: Database;
  readonly origin: string;
  readonly clock: () => Date;
  /** Says that a lane has something to send; called after the commit. */
  readonly wake: (lane: string, at?: Date) => void;
  /** Says that the journal has rows to number; called after the commit. */
  readonly numberJournal: () => void;
  /** Set where the request may be repeated under an Idempotency-Key. */
  readonly once?: Once | undefined;
}

export interface Change<T> {
  readonly value: T;
  readonly lanes: readonly string[];
}

/** Runs a change in one transaction; only what was committed wakes lanes and is numbered in the journal. */
export async function commitChange<T>(
  dependencies: OutboxDependencies,
  change: (tx: Tx, context: WriteContext) => Promise<Change<T>>,
): Promise<T> {
  const { database, origin, clock, wake, numberJournal, once } = dependencies;
  let lanes: readonly string[] = [];
  const value = await database.transaction(async (tx) => {
    const now = clock();
    return await changeOnce(tx, once, now, async () => {
      const changed = await change(tx, { origin, now });
      lanes = changed.lanes;
      return changed.value;
    });
  });
  for (const lane of lanes) wake(lane);
  numberJournal();
  return value;
}

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
export async function submitProject(
  dependencies: OutboxDependencies,
  caller: PlatformCaller,
  write: ProjectWrite,
): Promise<Submitted> {
  return await commitChange(dependencies, async (tx, context) => {
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
