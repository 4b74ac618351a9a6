/** Projects: declared, changed, shared and read by a platform's people (docs/protocol.md, "Activities"). */
import { objectDigest } from "../protocol/canonical-json.ts";
import { mintId } from "../protocol/ids.ts";
import { type Grant, type JsonObject, judgeShape, type Project, projectSchema } from "../protocol/objects.ts";
import { type Client, ClientError } from "./client.ts";
import { clearMembersOf, type ProjectChange, type ProjectFile } from "./project-file.ts";
import { fetchProject, type ProjectRow, type ProjectView } from "./project-views.ts";
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
  const object = await sealProject(client, membership, { object: judged(clear), content: file.sealed, prev: null });
  return await send(client, membership, "POST", "/projects", object);
}

/**
 * Makes the next revision of an own project, sealed anew for everybody who may read it.
 * @throws {ClientError} `not_owner`, `invalid_project` @throws {TrustError} @throws {RestError} `revision_stale`
 */
export async function editProject(
  client: Client,
  membership: Membership,
  id: string,
  change: ProjectChange,
): Promise<ProjectRow> {
  const { object, content } = await openOwn(client, membership, id);
  if (change.code !== undefined && change.code !== object["hf:code"]) {
    throw new ClientError("invalid_project", "A project keeps its code: leave it out, or declare another project.");
  }
  const next = { ...object, ...clearMembersOf(change) };
  return await revise(client, membership, `/projects/${id}`, "PATCH", object, next, change.sealed ?? content);
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
  const { object, content } = await openOwn(client, membership, id);
  const grants = object["hf:grants"] as readonly Grant[];
  const before = grants.find(({ platform }) => platform === grant.platform.uri);
  const granted: Grant = {
    platform: grant.platform.uri,
    mode: grant.mode,
    from: before?.from ?? client.clock().toISOString(),
    ...(grant.expires === undefined ? {} : { expires: grant.expires }),
  };
  const others = grants.filter(({ platform }) => platform !== grant.platform.uri);
  const next = { ...object, "hf:grants": [...others, granted] };
  return await revise(client, membership, `/projects/${id}/share`, "POST", object, next, content);
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
  const platformIdOf = (actor: string) =>
    actor === view.owner_uri
      ? view.owner_platform_id
      : (view.grants.find(({ platform }) => platform === actor)?.platform_id ?? null);
  // A grantee's edit is judged by the owner's last word, which this vault may not have seen.
  if (ownerObject !== undefined) {
    refuseSubstitute(view, ownerObject);
    await openSealed(client, membership, ownerObject, platformIdOf);
  }
  const opened = await openSealed(client, membership, object, platformIdOf);
  return { project: { instance: membership.origin, ...project }, object, ...opened };
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
  path: string,
  method: "PATCH" | "POST",
  before: JsonObject,
  wanted: JsonObject,
  content: JsonObject,
): Promise<ProjectRow> {
  const { "hf:sealed": _sealed, ...clear } = wanted;
  const revision = Number(before["hf:revision"]) + 1;
  await refuseRollback(client, membership, String(before.id), revision);
  const next = dropNulls({ ...clear, "hf:revision": revision });
  const prev = objectDigest(before);
  const object = await sealProject(client, membership, { object: judged(next), content, prev });
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
  await rememberObject(client, object, true);
  const { object: _object, owner_object: _ownerObject, ...project } = answer;
  return { instance: membership.origin, ...project };
}

const dropNulls = (members: JsonObject): JsonObject =>
  Object.fromEntries(Object.entries(members).filter(([, value]) => value !== null && value !== undefined));

/** Judged before it is sealed, by the schema that the node uses. @throws {ClientError} `invalid_project` */
function judged(object: JsonObject): JsonObject {
  const { malformed, unknown } = judgeShape<Project>(projectSchema, object);
  if (malformed.length === 0 && unknown.length === 0) return object;
  const errors = [
    ...malformed,
    ...unknown.map(({ path }) => ({ path, code: "unknown_member", message: "is not a member" })),
  ];
  throw new ClientError("invalid_project", "The project does not have the form that is needed; nothing was sent.", {
    errors,
  });
}
