/** What an activity asks for, read before anybody is asked who sent it: faults of shape are found here. */
import { z } from "zod";
import { Problem } from "../errors.ts";
import { type Activity, protocolVersion } from "../protocol/activities.ts";
import { limits } from "../protocol/limits.ts";
import {
  idOf,
  isJsonObject,
  type JsonObject,
  type JudgedShape,
  judgeShape,
  type Project,
  projectSchema,
  typesOf,
} from "../protocol/objects.ts";
import { idSchema, isBlank, nameSchema, revisionSchema } from "../protocol/values.ts";

export type Intent =
  | { readonly kind: "follow"; readonly object: string }
  | { readonly kind: "accept"; readonly follow: string }
  | { readonly kind: "reject"; readonly follow: string }
  | { readonly kind: "undo"; readonly follow: string }
  | { readonly kind: "directory"; readonly handle: string; readonly name: string; readonly bundles: readonly unknown[] }
  | { readonly kind: "project"; readonly judged: JudgedShape<Project>; readonly bundles: readonly unknown[] }
  | {
      readonly kind: "edit";
      readonly judged: JudgedShape<Project>;
      readonly baseRevision: number;
      readonly bundles: readonly unknown[];
    }
  | { readonly kind: "tombstone"; readonly uri: string }
  /** An actor is gone, by its own word. */
  | { readonly kind: "removal" }
  | { readonly kind: "remove"; readonly platform: string; readonly uri: string; readonly revision: number }
  | { readonly kind: "unhandled" };

const unhandled: Intent = { kind: "unhandled" };

const directorySchema = z.looseObject({
  id: idSchema,
  name: nameSchema().optional(),
  preferredUsername: nameSchema(200),
});

const removeSchema = z.looseObject({ "hf:revision": revisionSchema });

/**
 * Under a newer protocol than ours, a shape that we do not know is one that we do not handle.
 * @throws {Problem} `malformed_activity`, `malformed_id`
 */
export function readIntent(activity: Activity): Intent {
  try {
    return readKnown(activity);
  } catch (error) {
    const isShape = error instanceof Problem && error.code === "malformed_activity";
    if (isShape && activity.protocol > protocolVersion) return unhandled;
    throw error;
  }
}

function readKnown(activity: Activity): Intent {
  switch (activity.type) {
    case "Follow":
      return { kind: "follow", object: requireId(activity, "object") };
    case "Accept":
      return readPeering(activity, "accept");
    case "Reject":
      return readPeering(activity, "reject");
    case "Undo":
      return readPeering(activity, "undo");
    case "Create":
      return isProject(activity.object) ? readProject(activity, activity.object) : unhandled;
    case "Update":
      if (isProject(activity.object)) {
        return activity.whole["hf:baseRevision"] === undefined
          ? readProject(activity, activity.object)
          : readEdit(activity, activity.object);
      }
      return activity.object && activity.objectId === activity.actor ? readDirectory(activity) : unhandled;
    case "Delete":
      return requireId(activity, "object") === activity.actor
        ? { kind: "removal" }
        : { kind: "tombstone", uri: requireId(activity, "object") };
    case "Remove":
      return {
        kind: "remove",
        platform: requireId(activity, "object"),
        uri: requireId(activity, "target"),
        revision: requireShape(removeSchema, activity.whole, "")["hf:revision"],
      };
    default:
      return unhandled;
  }
}

/** About a Follow, as far as can be seen: what is undone or accepted besides is nothing between nodes. */
function readPeering(activity: Activity, kind: "accept" | "reject" | "undo"): Intent {
  const follow = requireId(activity, "object");
  const types = typesOf(activity.object);
  return types.length > 0 && !types.includes("Follow") ? unhandled : { kind, follow };
}

function isProject(object: JsonObject | null): object is JsonObject {
  return object !== null && typesOf(object).includes("hf:Project");
}

function readProject(activity: Activity, object: JsonObject): Extract<Intent, { readonly kind: "project" }> {
  const judged = judgeShape(projectSchema, object);
  if (judged.malformedId) throw new Problem("malformed_id");
  const [fault] = judged.malformed;
  if (fault) throw new Problem("malformed_activity", `object.${fault.path}: ${fault.message}`);
  return { kind: "project", judged, bundles: readBundles(activity) };
}

const editSchema = z.looseObject({ "hf:baseRevision": revisionSchema });

/** A grantee's edit, to the owner's node. */
function readEdit(activity: Activity, object: JsonObject): Intent {
  const { judged, bundles } = readProject(activity, object);
  const { "hf:baseRevision": baseRevision } = requireShape(editSchema, activity.whole, "");
  return { kind: "edit", judged, baseRevision, bundles };
}

function readDirectory(activity: Activity): Intent {
  const document = requireShape(directorySchema, activity.object, "object.");
  const { preferredUsername: handle, name = "" } = document;
  return { kind: "directory", handle, name: isBlank(name) ? handle : name, bundles: readBundles(activity) };
}

/** Items of `hf:bundles`; each is judged by itself when it is stored. */
function readBundles(activity: Activity): readonly unknown[] {
  const bundles = activity.whole["hf:bundles"] ?? [];
  if (!Array.isArray(bundles) || bundles.length > limits.bundles || !bundles.every(isJsonObject)) {
    throw new Problem("malformed_activity", "hf:bundles is a list of objects.");
  }
  return bundles;
}

function requireId(activity: Activity, member: "object" | "target"): string {
  const id = idOf(activity.whole[member]);
  if (id === null) throw new Problem("malformed_activity", `A ${activity.type} names its ${member}.`);
  return id;
}

function requireShape<T>(schema: z.ZodType<T>, value: unknown, path: string): T {
  const judged = judgeShape(schema, value);
  if (judged.malformedId) throw new Problem("malformed_id");
  const [fault] = judged.malformed;
  if (fault) throw new Problem("malformed_activity", `${path}${fault.path}: ${fault.message}`);
  return judged.value;
}
