/** What is true of the projects of a walk, as their owners' nodes answered: every snapshot that may be seen anywhere. */
import { objectDigest } from "../../src/protocol/canonical-json.ts";
import type { Json } from "../harness/rest.ts";

export type Mode = "readonly" | "editable";

export interface Grant {
  readonly mode: Mode;
  /** Milliseconds. */
  readonly expires?: number;
}

/** A revision as somebody sealed it. */
export interface Snapshot {
  readonly object: Json;
  readonly revision: number;
  /** By platform URI. */
  readonly grants: ReadonlyMap<string, Grant>;
  readonly content: Json;
  /** Platform URI of whom sealed it. */
  readonly sender: string;
}

export interface ModelProject {
  readonly uri: string;
  readonly code: string;
  readonly owner: string;
  /** By digest: those that the owner's node took, and edits that were proposed to it. */
  readonly snapshots: Map<string, Snapshot>;
  /** Digests of those that the owner's node is known to have taken, and of those that another node proposed to it. */
  readonly taken: Set<string>;
  readonly proposed: Set<string>;
  /** Digest of the newest one that the owner's node is known to have taken, and of the newest that the owner sealed. */
  current: string;
  ownersWord: string;
  deleted: boolean;
}

export interface Model {
  readonly projects: ModelProject[];
}

export const digestOf = (object: Json): string => objectDigest(object);

export function currentOf(project: ModelProject): Snapshot {
  return project.snapshots.get(project.current) as Snapshot;
}

export function addSnapshot(project: ModelProject, snapshot: Snapshot): string {
  const digest = digestOf(snapshot.object);
  project.snapshots.set(digest, snapshot);
  return digest;
}

/** The owner's node holds that digest now. @throws when nobody has sealed it, or it is older than what was held before */
export function adopt(project: ModelProject, object: Json): void {
  const digest = digestOf(object);
  const snapshot = project.snapshots.get(digest);
  if (snapshot === undefined) throw new Error(`nobody has sealed what ${project.code} holds at home`);
  if (snapshot.revision < currentOf(project).revision) throw new Error(`${project.code} went back at its home`);
  project.current = digest;
  project.taken.add(digest);
  if (snapshot.sender === project.owner) project.ownersWord = digest;
}

/**
 * Edits that came too late, once all is delivered: at least and at most so many. Of a deleted project nobody can tell
 * whether the last edit came before the deletion or behind it.
 */
export function countLost(projects: readonly ModelProject[]): { readonly least: number; readonly most: number } {
  const lost = projects.flatMap((project) =>
    [...project.proposed]
      .filter((digest) => !project.taken.has(digest))
      .map((digest) => ({ project, revision: project.snapshots.get(digest)?.revision })),
  );
  const sure = lost.filter(({ project, revision }) => !project.deleted || revision !== currentOf(project).revision + 1);
  return { least: sure.length, most: lost.length };
}

/** Does the grant hold now? Null close to its end, where clocks decide. */
export function isLive(grant: Grant | undefined, now: number): boolean | null {
  if (grant === undefined) return false;
  if (grant.expires === undefined) return true;
  if (Math.abs(grant.expires - now) < 1_500) return null;
  return now < grant.expires;
}
