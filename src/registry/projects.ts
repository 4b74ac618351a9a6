/** Projects as their owner writes them: this node is their home and sequences their revisions. */
import { and, asc, eq, isNull } from "drizzle-orm";
import { Problem } from "../errors.ts";
import { canonicalJson, objectDigest } from "../protocol/canonical-json.ts";
import { originOf, uuidOf } from "../protocol/ids.ts";
import {
  isJsonObject,
  type JudgedShape,
  judgeShape,
  type Project,
  projectSchema,
  type ShapeFault,
} from "../protocol/objects.ts";
import { blankName, isBlank } from "../protocol/values.ts";
import { isUniqueViolation, type Tx } from "../storage/database.ts";
import { objects } from "../storage/schema.ts";
import { followGrants, listHolders, lockObject } from "./access.ts";
import { type Announcement, announceSnapshot, type ObjectRow, type Written } from "./announcements.ts";
import { type Caller, nameCaller, type PlatformCaller, requireRight } from "./caller.ts";
import { recordEffects } from "./journal.ts";
import { holdLocal } from "./platforms.ts";
import { columnsOf, judgeContent } from "./project-content.ts";
import { applyEdit, proposeEdit } from "./project-edits.ts";
import { readAccess } from "./project-views.ts";

export interface WriteContext {
  readonly origin: string;
  readonly now: Date;
}

export type RevisionKind = "edit" | "share" | "unshare";

/**
 * An object as a platform of this node submits it.
 * @throws {Problem} `envelope_missing` for a plain body, `malformed_id`, `invalid`
 */
export function parseSubmission(object: unknown): JudgedShape<Project> {
  if (!isJsonObject(object)) {
    throw new Problem(
      "envelope_missing",
      "Writes carry `object`, the sealed hf:Project: descriptions and people exist only inside it. The SDK (`concordat projects create`) makes it.",
    );
  }
  const judged = judgeShape(projectSchema, object);
  if (judged.malformedId) throw new Problem("malformed_id");
  const faults = judged.malformed.length > 0 ? judged.malformed : blankNamesOf(judged.value);
  if (faults.length > 0) {
    const errors = faults.map((fault) => ({ ...fault, path: `object.${fault.path}` }));
    throw new Problem("invalid", "The object does not have the shape of an hf:Project.", { errors });
  }
  return judged;
}

/** Names that show nothing. A code never changes: that of a project which peers declared stays what it is. */
function blankNamesOf({ name, "hf:code": code, "hf:revision": revision }: Project): readonly ShapeFault[] {
  const given = { ...(name === undefined ? {} : { name }), ...(revision === 1 ? { "hf:code": code } : {}) };
  return Object.entries(given)
    .filter(([, text]) => isBlank(text))
    .map(([path]) => ({ path, code: "custom", message: blankName }));
}

/** Declares a project. @throws {Problem} the refusals of docs/protocol.md, "Answers" */
export async function declareProject(
  tx: Tx,
  caller: PlatformCaller,
  judged: JudgedShape<Project>,
  context: WriteContext,
): Promise<Written> {
  const project = judged.value;
  const id = requireOwnId(project, caller, context.origin);
  requireRight(caller, "projects:write");
  if (project["hf:grants"].length > 0) requireRight(caller, "projects:share");
  if (!(await holdLocal(tx, [caller.uri])).has(caller.uri))
    throw new Problem("unauthenticated", "The platform is gone.");
  await lockObject(tx, project.id);
  const before = await readRow(tx, project.id);
  if (before) {
    const isSame = before.digest === objectDigest(project) && before.ownerUri === caller.uri;
    if (isSame && before.deletedAt === null) {
      return { id: before.id, changed: false, announcements: [] };
    }
    throw new Problem("id_taken", "An object of that id exists.");
  }
  if (project["hf:revision"] !== 1) {
    throw new Problem("revision_stale", "A new project has revision 1.", { current_revision: 0 });
  }
  await judgeContent(tx, judged, { sender: caller.uri, now: context.now });
  const row: ObjectRow = {
    ...columnsOf(judged),
    uri: project.id,
    id,
    type: "hf:Project",
    ownerUri: caller.uri,
    local: true,
    ownerObject: null,
    deletedAt: null,
    createdAt: context.now,
    updatedAt: context.now,
  };
  try {
    await tx.insert(objects).values(row);
  } catch (error) {
    if (isUniqueViolation(error)) {
      const detail = `The owner has a project of the code ${row.code} already: change that one, or choose another code.`;
      throw new Problem("id_taken", detail);
    }
    throw error;
  }
  const grantees = project["hf:grants"].map((grant) => grant.platform);
  await follow(tx, project, caller, "project.created", grantees, context);
  return { id, changed: true, announcements: announceSnapshot("Create", project, grantees) };
}

/**
 * The next revision of a project: an edit, or only other grants (`share`, `unshare`).
 * @throws {Problem} `not_found`, `not_owner`, `revision_stale` with `current_revision`, `grants_refused`, and what
 *   `declareProject` throws
 */
export async function reviseProject(
  tx: Tx,
  caller: PlatformCaller,
  id: string,
  judged: JudgedShape<Project>,
  kind: RevisionKind,
  context: WriteContext,
): Promise<Written> {
  const project = judged.value;
  const before = await lockById(tx, caller, id, context.now);
  if (project.id !== before.uri) throw new Problem("foreign_id", "The object is not the one of this path.");
  if (project.attributedTo !== before.ownerUri) throw new Problem("not_owner", "attributedTo never changes.");
  if (caller.uri !== before.ownerUri) {
    requireRight(caller, "projects:write");
    if (kind !== "edit") throw new Problem("not_owner", "Only the owner changes grants.");
    return before.local
      ? await applyEdit(tx, caller.uri, before, judged, context)
      : await proposeEdit(tx, caller.uri, before, judged, context.now);
  }
  const previous = before.object as unknown as Project;
  const grantsDiffer = canonicalJson(previous["hf:grants"]) !== canonicalJson(project["hf:grants"]);
  requireRight(caller, kind === "edit" ? "projects:write" : "projects:share");
  if (grantsDiffer) requireRight(caller, "projects:share");
  if (project["hf:revision"] === before.revision && before.digest === objectDigest(project)) {
    return { id: before.id, changed: false, announcements: [] };
  }
  if (project["hf:revision"] !== before.revision + 1) {
    throw new Problem("revision_stale", "The revision is not the one behind the current one.", {
      current_revision: before.revision,
    });
  }
  if (project["hf:code"] !== before.code) throw new Problem("id_taken", "The code of a project never changes.");
  if (kind !== "edit") requireOnlyGrantsDiffer(previous, project);
  await judgeContent(tx, judged, { sender: caller.uri, now: context.now, before: before.object });
  const columns = columnsOf(judged, before.protocol);
  await tx
    .update(objects)
    .set({ ...columns, ownerObject: null, updatedAt: context.now })
    .where(eq(objects.uri, before.uri));

  const held = previous["hf:grants"].map((grant) => grant.platform);
  const grantees = project["hf:grants"].map((grant) => grant.platform);
  const withdrawn = held.filter((platform) => !grantees.includes(platform));
  await follow(tx, project, caller, "project.updated", grantees, context, held, withdrawn);
  return {
    id: before.id,
    changed: true,
    announcements: [
      ...announceSnapshot("Update", project, grantees, columns.protocol),
      ...withdrawn.map(
        (platform): Announcement => ({
          actor: caller.uri,
          type: "Remove",
          object: platform,
          objectUri: project.id,
          target: project.id,
          revision: project["hf:revision"],
          recipients: [platform],
          bundlesOf: [],
        }),
      ),
    ],
  };
}

/** Deletes a project: a tombstone stays, for ever. @throws {Problem} `not_found`, `not_owner` */
export async function deleteProject(
  tx: Tx,
  caller: PlatformCaller,
  id: string,
  { now }: WriteContext,
): Promise<Written> {
  requireRight(caller, "projects:write");
  const before = await lockById(tx, caller, id, now);
  requireOwner(before, caller);
  return { id, changed: true, announcements: [await buryProject(tx, caller, before, now)] };
}

/** Leaves a tombstone in the place of a project, and says what its holders are told. */
async function buryProject(tx: Tx, caller: Caller, before: ObjectRow, now: Date): Promise<Announcement> {
  const { uri: objectUri, ownerUri: actor, revision } = before;
  const holders = (await listHolders(tx, objectUri)).filter((platform) => platform !== actor);
  await tx
    .update(objects)
    .set({ object: null, ownerObject: null, deletedAt: now, updatedAt: now })
    .where(eq(objects.uri, objectUri));
  await recordEffects(tx, {
    at: now,
    actor: nameCaller(caller),
    action: "project.deleted",
    object: objectUri,
    audience: [actor, ...holders],
  });
  const object = { id: objectUri, type: "Tombstone", attributedTo: actor, deleted: now.toISOString() };
  return { actor, type: "Delete", object, objectUri, revision, recipients: holders, bundlesOf: [] };
}

/** Deletes every project of a platform that goes. */
export async function deleteProjectsOf(
  tx: Tx,
  caller: Caller,
  ownerUri: string,
  now: Date,
): Promise<readonly Announcement[]> {
  const owned = await tx
    .select({ uri: objects.uri })
    .from(objects)
    .where(and(eq(objects.ownerUri, ownerUri), eq(objects.local, true), isNull(objects.deletedAt)))
    .orderBy(asc(objects.uri));
  const announcements: Announcement[] = [];
  for (const { uri } of owned) {
    await lockObject(tx, uri);
    const row = await readRow(tx, uri);
    if (row && row.deletedAt === null) announcements.push(await buryProject(tx, caller, row, now));
  }
  return announcements;
}

function requireOwnId(project: Project, caller: PlatformCaller, origin: string): string {
  if (originOf(project.id) !== origin) {
    throw new Problem("foreign_id", `The id of a new project begins with ${origin}/projects/.`);
  }
  const id = uuidOf(project.id, origin, "projects");
  if (id === null) throw new Problem("malformed_id", `The id is ${origin}/projects/ and a UUID version 7.`);
  if (project.attributedTo !== caller.uri) throw new Problem("not_owner", "attributedTo is not the caller.");
  return id;
}

function requireOwner(row: ObjectRow, caller: PlatformCaller): void {
  if (row.ownerUri !== caller.uri) throw new Problem("not_owner", "Only the owner's node takes this from its owner.");
}

/** The row that `caller` may see under its local key, locked. */
async function lockById(tx: Tx, caller: PlatformCaller, id: string, now: Date): Promise<ObjectRow> {
  const access = await readAccess(tx, caller, id, now);
  if (!access) throw new Problem("not_found");
  await lockObject(tx, access.uri);
  const row = await readRow(tx, access.uri);
  if (!row || row.deletedAt) throw new Problem("not_found");
  return row;
}

async function readRow(tx: Tx, uri: string): Promise<ObjectRow | undefined> {
  const [row] = await tx.select().from(objects).where(eq(objects.uri, uri));
  return row;
}

function requireOnlyGrantsDiffer(before: Project, after: Project): void {
  const rest = ({ "hf:grants": _g, "hf:revision": _r, "hf:sealed": _s, "@context": _c, ...others }: Project) =>
    canonicalJson(others);
  if (rest(before) !== rest(after)) {
    throw new Problem("grants_refused", "Sharing changes the grants and nothing else.");
  }
}

/** Access rows and journal of a snapshot: to those new in it an event `shared`, to the others what was done. */
async function follow(
  tx: Tx,
  project: Project,
  caller: PlatformCaller,
  action: "project.created" | "project.updated",
  grantees: readonly string[],
  { now }: WriteContext,
  held: readonly string[] = [],
  withdrawn: readonly string[] = [],
): Promise<void> {
  const revision = project["hf:revision"];
  await followGrants(tx, { uri: project.id, owner: caller.uri, grants: project["hf:grants"], revision }, now);
  const entry = { at: now, actor: nameCaller(caller), object: project.id, data: { revision } };
  const added = grantees.filter((platform) => !held.includes(platform));
  await recordEffects(
    tx,
    { ...entry, action, audience: [caller.uri, ...grantees.filter((platform) => held.includes(platform))] },
    ...(added.length > 0 ? [{ ...entry, action: "project.shared", audience: added }] : []),
    ...(withdrawn.length > 0 ? [{ ...entry, action: "project.unshared", audience: withdrawn }] : []),
  );
}
