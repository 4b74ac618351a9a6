/** What a write to the registry asks to be told to others; `outbox/append` makes activities and deliveries of it. */
import { protocolVersion } from "../protocol/activities.ts";
import type { JsonObject, Project } from "../protocol/objects.ts";
import type { objects } from "../storage/schema.ts";

export type ObjectRow = typeof objects.$inferSelect;

/** What a write asks to be told to others: activities without id, for `outbox/append`. */
export interface Announcement {
  /** Who speaks: the owner, or an editing grantee to the owner's node. */
  readonly actor: string;
  readonly type: "Create" | "Update" | "Delete" | "Remove";
  readonly object: JsonObject | string;
  readonly objectUri: string;
  readonly revision: number;
  readonly target?: string;
  /** The revision that a grantee's edit was made of. */
  readonly baseRevision?: number;
  /** Platform URIs, local ones among them: those are served by their access row. */
  readonly recipients: readonly string[];
  /** The protocol whose members the object holds, where it is newer than ours. */
  readonly protocol?: number;
  /** Platforms whose key bundles travel beside the object. */
  readonly bundlesOf: readonly string[];
}

export interface Written {
  /** Local key of the object. */
  readonly id: string;
  /** False when the very same snapshot stood here already. */
  readonly changed: boolean;
  readonly announcements: readonly Announcement[];
}

/** Tells the grantees of a snapshot; one without grantees is an activity that goes nowhere. */
export function announceSnapshot(
  type: "Create" | "Update",
  project: Project,
  grantees: readonly string[],
  protocol = protocolVersion,
): Announcement[] {
  return [
    {
      actor: project.attributedTo,
      type,
      object: project as unknown as JsonObject,
      objectUri: project.id,
      revision: project["hf:revision"],
      recipients: grantees,
      protocol,
      bundlesOf: [project.attributedTo, ...grantees],
    },
  ];
}
