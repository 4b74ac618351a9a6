/** Projects as the instances of a vault show them: listed, merged, found by what people call them. */
import { validate } from "uuid";
import { isCanonicalId } from "../protocol/ids.ts";
import type { JsonObject } from "../protocol/objects.ts";
import { type Client, ClientError } from "./client.ts";
import { listEverywhere, type MergedList } from "./listing.ts";
import { selectMemberships } from "./memberships.ts";
import { RestError } from "./rest.ts";
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

/** One project by its local key. @throws {RestError} `not_found` */
export async function fetchProject(client: Client, membership: Membership, id: string): Promise<ProjectView> {
  return (await client.rest(membership).request("GET", `/projects/${id}`)) as ProjectView;
}
