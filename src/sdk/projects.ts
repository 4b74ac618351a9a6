/** Projects: declared, changed, shared and read by a platform's people (docs/protocol.md, "Activities"). */
import { objectDigest } from "../protocol/canonical-json.ts";
import { mintId } from "../protocol/ids.ts";
import { type Grant, type JsonObject, judgeShape, type Project, projectSchema } from "../protocol/objects.ts";
import { type Client, ClientError } from "./client.ts";
import { clearMembersOf, type ProjectChange, type ProjectFile } from "./project-file.ts";
import { fetchProject, type ProjectFields, type ProjectRow, type ProjectView } from "./project-views.ts";
import { type OpenedObject, openSealed, rememberObject, sealProject } from "./sealing.ts";
import type { Recipient } from "./trust.ts";
import type { Membership } from "./vault.ts";

export interface OpenedProject extends OpenedObject {
  readonly project: ProjectRow;
  /** The `hf:Project` as received. */
  readonly object: JsonObject;
}

/**
 * Declares a project: its id is minted here, `sealed` is encrypted for oneself.
 * @throws {ClientError} `invalid_project` @throws {RestError}
 */
export async function declareProject(client: Client, membership: Membership, file: ProjectFile): Promise<ProjectRow> {
  const clear = dropNulls({
    id: mintId(membership.origin, "projects", client.clock().getTime()),
    type: ["Document", "hf:Project"],
    attributedTo: membership.actor,
    "hf:code": file.code,
    ...clearMembersOf(file),
    "hf:grants": [],
    "hf:revision": 1,
  });
  const nobody = () => null;
  const sealing = { object: judged(clear), content: file.sealed, prev: null, platformIdOf: nobody };
  const object = await sealProject(client, membership, sealing);
  return await send(client, membership, "POST", "/projects", object);
}

/** A revision that was sent; another node's project changes only when that node takes it. */
export interface EditedProject extends ProjectRow {
  readonly applied: boolean;
}

/**
 * Makes the next revision of a project, as its owner or with an editable grant, sealed anew for everybody who may read
 * it.
 * @throws {ClientError} `not_owner`, `invalid_project` @throws {TrustError} @throws {RestError} `revision_stale`
 */
export async function editProject(
  client: Client,
  membership: Membership,
  id: string,
  change: ProjectChange,
): Promise<EditedProject> {
  const opened = await openProject(client, membership, id);
  const { object, content, project } = opened;
  if (project.access === "readonly") {
    throw new ClientError("not_owner", `${project.code} is shared with this platform read-only.`);
  }
  if (change.code !== undefined && change.code !== object["hf:code"]) {
    throw new ClientError("invalid_project", "A project keeps its code: leave it out, or declare another project.");
  }
  const next = { ...object, ...clearMembersOf(change) };
  const revision = {
    method: "PATCH",
    path: `/projects/${id}`,
    object: next,
    content: change.sealed ?? content,
  } as const;
  const edited = await revise(client, membership, opened, revision);
  return { ...edited, applied: edited.revision > project.revision };
}

/**
 * Lets another platform read a project (or, with `editable`, change it); a second time it changes the grant.
 * @throws {ClientError} `not_owner` @throws {TrustError} when its keys are not those that are known: nothing is sent
 */
export async function shareProject(
  client: Client,
  membership: Membership,
  id: string,
  grant: { readonly platform: Pick<Recipient, "id" | "uri">; readonly mode: Grant["mode"]; readonly expires?: string },
): Promise<ProjectRow> {
  const opened = await openOwn(client, membership, id);
  const grants = grantsOf(opened);
  const before = grants.find(({ platform }) => platform === grant.platform.uri);
  const granted: Grant = {
    platform: grant.platform.uri,
    mode: grant.mode,
    from: before?.from ?? client.clock().toISOString(),
    ...(grant.expires === undefined ? {} : { expires: grant.expires }),
  };
  const others = grants.filter(({ platform }) => platform !== grant.platform.uri);
  return await regrant(client, membership, opened, "share", [...others, granted], grant.platform);
}

/**
 * Ends another platform's access: the next revision is not sealed for it any more. What it has opened it has.
 * @throws {ClientError} `not_owner`, `not_shared` @throws {TrustError} @throws {RestError}
 */
export async function unshareProject(
  client: Client,
  membership: Membership,
  id: string,
  platform: string,
): Promise<ProjectRow> {
  const opened = await openOwn(client, membership, id);
  const grants = grantsOf(opened);
  const left = grants.filter((grant) => grant.platform !== platform);
  if (left.length === grants.length) {
    throw new ClientError("not_shared", `${opened.project.code} is not shared with ${platform}.`, { actor: platform });
  }
  return await regrant(client, membership, opened, "unshare", left);
}

/** Deletes an own project, everywhere and for good. @throws {RestError} `not_owner`, `not_found` */
export async function deleteProject(client: Client, membership: Membership, id: string): Promise<void> {
  await client.rest(membership).request("DELETE", `/projects/${id}`);
}

const grantsOf = ({ object }: OpenedProject) => object["hf:grants"] as readonly Grant[];

async function regrant(
  client: Client,
  membership: Membership,
  opened: OpenedProject,
  verb: "share" | "unshare",
  grants: readonly Grant[],
  added?: Pick<Recipient, "id" | "uri">,
): Promise<ProjectRow> {
  const { object: before, content, project } = opened;
  const object = { ...before, "hf:grants": grants };
  const path = `/projects/${project.id}/${verb}`;
  return await revise(client, membership, opened, { method: "POST", path, object, content, added });
}

/**
 * Opens a project with the keys of this vault, as owner or as grantee.
 * @throws {ClientError} `envelope_refused`, `no_access` @throws {TrustError} at a first contact @throws {RestError}
 */
export async function openProject(client: Client, membership: Membership, id: string): Promise<OpenedProject> {
  const view = await fetchProject(client, membership, id);
  const { object, owner_object: ownerObject, ...project } = view;
  if (object === undefined) {
    throw new ClientError("no_access", `${membership.origin} does not give out the sealed part of ${view.code}.`);
  }
  refuseSubstitute(view, object);
  const platformIdOf = idsIn(view);
  // A grantee's edit is judged by the owner's last word, which this vault may not have seen.
  if (ownerObject !== undefined) {
    refuseSubstitute(view, ownerObject);
    await openSealed(client, membership, ownerObject, platformIdOf);
  }
  const opened = await openSealed(client, membership, object, platformIdOf);
  return { project: { instance: membership.origin, ...project }, object, ...opened };
}

/** The local keys of a project's parties, as its instance shows them. */
function idsIn({ owner_uri: owner, owner_platform_id: ownerId, grants }: ProjectFields) {
  return (actor: string): string | null =>
    actor === owner ? ownerId : (grants.find(({ platform }) => platform === actor)?.platform_id ?? null);
}

/** The object must be the one that was asked for, and say of itself what the instance says beside it. */
function refuseSubstitute(view: ProjectView, object: JsonObject): void {
  if (object.id === view.uri && object.attributedTo === view.owner_uri) return;
  throw new ClientError("envelope_refused", `The object that came for ${view.uri} is another one.`, {
    object: view.uri,
    reason: "object_mismatch",
  });
}

async function openOwn(client: Client, membership: Membership, id: string): Promise<OpenedProject> {
  const opened = await openProject(client, membership, id);
  if (opened.object.attributedTo === membership.actor) return opened;
  throw new ClientError(
    "not_owner",
    `${opened.project.code} belongs to ${opened.project.owner_uri}; only it can do this.`,
  );
}

async function revise(
  client: Client,
  membership: Membership,
  { object: before, project }: OpenedProject,
  {
    method,
    path,
    added,
    ...wanted
  }: {
    readonly method: "PATCH" | "POST";
    readonly path: string;
    readonly object: JsonObject;
    readonly content: JsonObject;
    /** Who gets access by it, and is not among the project's parties yet. */
    readonly added?: Pick<Recipient, "id" | "uri"> | undefined;
  },
): Promise<ProjectRow> {
  const { "hf:sealed": _sealed, ...clear } = wanted.object;
  const known = idsIn(project);
  const platformIdOf = (actor: string) => (actor === added?.uri ? added.id : known(actor));
  const revision = Number(before["hf:revision"]) + 1;
  await refuseRollback(client, membership, String(before.id), revision);
  const next = dropNulls({ ...clear, "hf:revision": revision });
  const prev = objectDigest(before);
  const sealing = { object: judged(next, before), content: wanted.content, prev, platformIdOf };
  const object = await sealProject(client, membership, sealing);
  return await send(client, membership, method, path, object);
}

/** Sealing other content for a revision that others hold already would be refused by every one of them. */
async function refuseRollback(client: Client, membership: Membership, uri: string, revision: number): Promise<void> {
  const { digests } = await client.vault.readHeld(uri);
  const newest = Math.max(0, ...Object.keys(digests).map(Number));
  if (newest < revision) return;
  throw new ClientError(
    "rolled_back",
    `${membership.origin} shows revision ${revision - 1} of ${uri}, this vault knows ${newest}: ask its administrator whether an old copy was restored.`,
    { object: uri, shown: revision - 1, known: newest },
  );
}

async function send(
  client: Client,
  membership: Membership,
  method: "PATCH" | "POST",
  path: string,
  object: JsonObject,
): Promise<ProjectRow> {
  const answer = (await client.rest(membership).request(method, path, { body: { object } })) as ProjectView;
  // What was only proposed to the owner's node may be refused there: then another revision of that number comes.
  if (answer.revision === object["hf:revision"]) {
    await rememberObject(client, object, object.attributedTo === membership.actor);
  }
  const { object: _object, owner_object: _ownerObject, ...project } = answer;
  return { instance: membership.origin, ...project };
}

const dropNulls = (members: JsonObject): JsonObject =>
  Object.fromEntries(Object.entries(members).filter(([, value]) => value !== null && value !== undefined));

/**
 * Judged before it is sealed, by the schema that the node uses; what a newer protocol brought into the revision before
 * stays.
 * @throws {ClientError} `invalid_project`
 */
function judged(object: JsonObject, before: JsonObject = {}): JsonObject {
  const { malformed, ...shape } = judgeShape<Project>(projectSchema, object);
  const kept = judgeShape<Project>(projectSchema, before).unknown.map(({ path }) => path);
  const unknown = shape.unknown.filter(({ path }) => !kept.includes(path));
  if (malformed.length === 0 && unknown.length === 0) return object;
  const errors = [
    ...malformed,
    ...unknown.map(({ path }) => ({ path, code: "unknown_member", message: "is not a member" })),
  ];
  throw new ClientError("invalid_project", "The project does not have the form that is needed; nothing was sent.", {
    errors,
  });
}
