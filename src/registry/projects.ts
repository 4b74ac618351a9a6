/** Projects as their owner writes them: this node is their home and sequences their revisions. */
import { eq } from "drizzle-orm";
import { inspectEnvelope } from "../crypto/envelope-inspection.ts";
import { judgeSubmittedKids } from "../crypto/recipients.ts";
import { Problem } from "../errors.ts";
import { canonicalJson, objectDigest } from "../protocol/canonical-json.ts";
import { originOf, uuidOf } from "../protocol/ids.ts";
import {
  type Grant,
  isJsonObject,
  type JsonObject,
  type JudgedShape,
  judgeShape,
  type Project,
  projectSchema,
  refuseUnknownMembers,
} from "../protocol/objects.ts";
import { isUniqueViolation, type Tx } from "../storage/database.ts";
import { objects } from "../storage/schema.ts";
import { followGrants, isLive, listHolders, lockObject } from "./access.ts";
import { nameCaller, type PlatformCaller, requireRight } from "./caller.ts";
import { findEntities } from "./entities.ts";
import { findFrameworks, frameworkKey } from "./frameworks.ts";
import { recordEffects } from "./journal.ts";
import { listKids, newestBundles } from "./key-bundles.ts";
import { findReachable } from "./platforms.ts";
import { readAccess } from "./project-views.ts";

export type ObjectRow = typeof objects.$inferSelect;

/** What a write asks to be told to others: activities without id, for `outbox/append`. */
export interface Announcement {
  readonly type: "Create" | "Update" | "Delete" | "Remove";
  readonly object: JsonObject | string;
  readonly objectUri: string;
  readonly revision: number;
  readonly target?: string;
  /** Platform URIs, local ones among them: those are served by their access row. */
  readonly recipients: readonly string[];
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
  if (judged.malformed.length > 0) {
    const errors = judged.malformed.map((fault) => ({ ...fault, path: `object.${fault.path}` }));
    throw new Problem("invalid", "The object does not have the shape of an hf:Project.", { errors });
  }
  return judged;
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
  await judgeContent(tx, judged, context.now);
  const row: ObjectRow = {
    ...columnsOf(project),
    uri: project.id,
    id,
    type: "hf:Project",
    ownerUri: caller.uri,
    local: true,
    ownerObject: null,
    needsReseal: false,
    deletedAt: null,
    createdAt: context.now,
    updatedAt: context.now,
  };
  try {
    await tx.insert(objects).values(row);
  } catch (error) {
    if (isUniqueViolation(error)) throw new Problem("id_taken", "The owner has a project of that code.");
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
  requireOwner(before, caller);
  if (project.attributedTo !== before.ownerUri) throw new Problem("not_owner", "attributedTo never changes.");
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
  await judgeContent(tx, judged, context.now);
  await tx
    .update(objects)
    .set({ ...columnsOf(project), ownerObject: null, needsReseal: false, updatedAt: context.now })
    .where(eq(objects.uri, before.uri));

  const held = previous["hf:grants"].map((grant) => grant.platform);
  const grantees = project["hf:grants"].map((grant) => grant.platform);
  const withdrawn = held.filter((platform) => !grantees.includes(platform));
  await follow(tx, project, caller, "project.updated", grantees, context, held, withdrawn);
  return {
    id: before.id,
    changed: true,
    announcements: [
      ...announceSnapshot("Update", project, grantees),
      ...withdrawn.map(
        (platform): Announcement => ({
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
  const holders = (await listHolders(tx, before.uri)).filter((platform) => platform !== caller.uri);
  await tx
    .update(objects)
    .set({ object: null, ownerObject: null, deletedAt: now, updatedAt: now })
    .where(eq(objects.uri, before.uri));
  await recordEffects(tx, {
    at: now,
    actor: nameCaller(caller),
    action: "project.deleted",
    object: before.uri,
    audience: [caller.uri, ...holders],
  });
  const tombstone = { id: before.uri, type: "Tombstone", attributedTo: before.ownerUri, deleted: now.toISOString() };
  const { uri: objectUri, revision } = before;
  return {
    id,
    changed: true,
    announcements: [{ type: "Delete", object: tombstone, objectUri, revision, recipients: holders, bundlesOf: [] }],
  };
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

/** Everything that is judged with 422: references, grantees, members in clear, the envelope and whom it is for. */
async function judgeContent(tx: Tx, judged: JudgedShape<Project>, now: Date): Promise<void> {
  refuseUnknownMembers(judged, false);
  const project = judged.value;
  await requireReferences(tx, project);
  const owner = project.attributedTo;
  const grants = project["hf:grants"];
  if (grants.some((grant) => grant.platform === owner)) {
    throw new Problem("grants_refused", "The owner needs no grant.");
  }
  await requireReachable(tx, grants);
  const envelope = inspectEnvelope(project);
  if (envelope.sender !== owner) throw new Problem("envelope_binding", "The envelope's sender is not the owner.");
  const parties = [owner, ...grants.filter((grant) => isLive(grant, now)).map((grant) => grant.platform)];
  const bundles = await newestBundles(tx, parties);
  // Whoever held access before may be the one for whom it is still sealed.
  const history = await listKids(tx, [...parties, ...(await listHolders(tx, project.id))]);
  const stale = judgeSubmittedKids({
    kids: envelope.kids,
    parties,
    history,
    newestKids: new Map([...bundles].map(([platform, bundle]) => [platform, bundle.encryptionKid])),
  });
  if (!stale.accepted) {
    throw new Problem(
      "recipients_stale",
      "The envelope is not sealed for exactly the newest keys of owner and grantees.",
      {
        platforms: stale.platforms,
      },
    );
  }
}

async function requireReferences(tx: Tx, project: Project): Promise<void> {
  const entityNames = (project["hf:entities"] ?? []).map((item) => item.name);
  const frameworkItems = project["hf:frameworks"] ?? [];
  const knownEntities = await findEntities(tx, entityNames);
  const knownFrameworks = await findFrameworks(tx, frameworkItems);
  const missing = [
    ...entityNames.flatMap((name, at) => (knownEntities.has(name) ? [] : [`object.hf:entities.${at}`])),
    ...frameworkItems.flatMap((item, at) =>
      knownFrameworks.has(frameworkKey(item)) ? [] : [`object.hf:frameworks.${at}`],
    ),
  ];
  if (missing.length > 0) {
    const errors = missing.map((path) => ({ path, code: "unknown_reference", message: "is not registered here" }));
    throw new Problem("unknown_reference", "Entities are named as registered; frameworks by kind and name.", {
      errors,
    });
  }
}

async function requireReachable(tx: Tx, grants: readonly Grant[]): Promise<void> {
  const reachable = await findReachable(
    tx,
    grants.map((grant) => grant.platform),
  );
  const errors = grants.flatMap((grant, at) =>
    reachable.has(grant.platform)
      ? []
      : [{ path: `object.hf:grants.${at}`, code: "unknown_reference", message: "is no platform known here" }],
  );
  if (errors.length > 0) {
    throw new Problem("unknown_reference", "A grant names a platform that this node does not know.", { errors });
  }
}

/** What lists are made of, out of the snapshot and nothing else. */
export function columnsOf(project: Project) {
  return {
    revision: project["hf:revision"],
    digest: objectDigest(project),
    object: project as unknown as JsonObject,
    code: project["hf:code"],
    name: project.name ?? null,
    status: project["hf:status"] ?? null,
    startDate: project["hf:startDate"] ?? null,
    endDate: project["hf:endDate"] ?? null,
  };
}

function announceSnapshot(type: "Create" | "Update", project: Project, grantees: readonly string[]): Announcement[] {
  if (grantees.length === 0) return [];
  return [
    {
      type,
      object: project as unknown as JsonObject,
      objectUri: project.id,
      revision: project["hf:revision"],
      recipients: grantees,
      bundlesOf: [project.attributedTo, ...grantees],
    },
  ];
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
