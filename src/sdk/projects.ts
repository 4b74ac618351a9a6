/** Projects: declared, changed, shared and read by a platform's people (docs/protocol.md, "Activities"). */
import { validate } from "uuid";
import { objectDigest } from "../protocol/canonical-json.ts";
import { isCanonicalId, mintId } from "../protocol/ids.ts";
import { type Grant, type JsonObject, judgeShape, type Project, projectSchema } from "../protocol/objects.ts";
import { type Client, ClientError } from "./client.ts";
import { listEverywhere, type MergedList } from "./listing.ts";
import { selectMemberships } from "./memberships.ts";
import { clearMembersOf, type ProjectChange, type ProjectFile } from "./project-file.ts";
import { RestError } from "./rest.ts";
import { type OpenedObject, openSealed, rememberObject, sealProject } from "./sealing.ts";
import type { Recipient } from "./trust.ts";
import type { Membership } from "./vault.ts";

/** What an instance shows of a project beside its object (docs/rest.md, "Projects"). */
export interface ProjectFields {
  readonly id: string;
  readonly uri: string;
  readonly code: string;
  readonly name: string | null;
  readonly status: string | null;
  readonly start_date: string | null;
  readonly end_date: string | null;
  readonly owner_platform: string | null;
  readonly owner_platform_id: string | null;
  readonly owner_uri: string;
  readonly grants: readonly {
    readonly platform: string;
    readonly platform_id: string | null;
    readonly name: string | null;
    readonly readonly: boolean;
    readonly from: string;
    readonly expires_at: string | null;
  }[];
  readonly revision: number;
  readonly access: "owner" | "readonly" | "editable";
}

export interface ProjectView extends ProjectFields {
  readonly object?: JsonObject;
  readonly owner_object?: JsonObject;
}

/** A project with the instance that shows it. */
export interface ProjectRow extends ProjectFields {
  readonly instance: string;
}

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

/** Projects of all memberships (or of one instance's), each row with its instance. */
export async function listProjects(
  client: Client,
  filter: { readonly instance?: string | undefined; readonly code?: string | undefined } = {},
): Promise<MergedList<ProjectRow>> {
  const { items, unreachable } = await listEverywhere<ProjectRow>(
    client,
    "/projects",
    { code: filter.code },
    filter.instance,
  );
  return { items, unreachable };
}

/**
 * The one project that is meant by a code, a local id or a URI.
 * @throws {ClientError} `not_found`, `ambiguous`
 */
export async function findProject(
  client: Client,
  name: string,
  instance?: string,
): Promise<{ readonly membership: Membership; readonly project: ProjectView }> {
  const { found, unreachable } = validate(name)
    ? await findById(client, name, instance)
    : await listEverywhere<ProjectView>(
        client,
        "/projects",
        isCanonicalId(name) ? { uri: name } : { code: name },
        instance,
      );
  const [first, ...others] = found;
  if (first === undefined) {
    const details = unreachable.length === 0 ? {} : { unreachable };
    const missing = unreachable.map(({ instance, message }) => ` Not asked: ${instance} (${message})`);
    throw new ClientError("not_found", `No instance of yours shows a project ${name}.${missing.join("")}`, details);
  }
  if (others.length > 0) {
    const uris = found.map(({ item }) => item.uri).join(", ");
    throw new ClientError(
      "ambiguous",
      `Several projects are meant by ${name} (${uris}); give the URI, or --instance.`,
      {
        projects: found.map(({ membership, item }) => ({ instance: membership.origin, uri: item.uri })),
      },
    );
  }
  return { membership: first.membership, project: first.item };
}

async function findById(client: Client, id: string, instance: string | undefined) {
  const found: { membership: Membership; item: ProjectView }[] = [];
  for (const membership of selectMemberships(await client.vault.read(), instance)) {
    try {
      found.push({ membership, item: await fetchProject(client, membership, id) });
    } catch (error) {
      if (!(error instanceof RestError && error.code === "not_found")) throw error;
    }
  }
  return { found, unreachable: [] };
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

async function fetchProject(client: Client, membership: Membership, id: string): Promise<ProjectView> {
  return (await client.rest(membership).request("GET", `/projects/${id}`)) as ProjectView;
}

const dropNulls = (members: JsonObject): JsonObject =>
  Object.fromEntries(Object.entries(members).filter(([, value]) => value !== null && value !== undefined));

/** Judged before it is sealed, by the schema that the node uses. @throws {ClientError} `invalid_project` */
function judged(object: JsonObject): JsonObject {
  const { malformed, unknown } = judgeShape<Project>(projectSchema, object);
  if (malformed.length === 0 && unknown.length === 0) return object;
  const errors = [
    ...malformed,
    ...unknown.map((path) => ({ path, code: "unknown_member", message: "is not a member" })),
  ];
  throw new ClientError("invalid_project", "The project does not have the form that is needed; nothing was sent.", {
    errors,
  });
}
