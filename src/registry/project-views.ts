/** Projects as a caller may see them: owner and grantees all of it, an administrator the clear part. */
import { and, eq, isNull, like, or, type SQL, sql } from "drizzle-orm";
import { listRecipientKids } from "../crypto/envelope-inspection.ts";
import { listUnsealed } from "../crypto/recipients.ts";
import { Problem } from "../errors.ts";
import { isLive } from "../protocol/grants.ts";
import type { JsonObject, Project } from "../protocol/objects.ts";
import type { Tx } from "../storage/database.ts";
import { preparedOnce } from "../storage/prepared.ts";
import { accessRows, objects, platforms } from "../storage/schema.ts";
import { type AccessMode, holdsAt, lockObject } from "./access.ts";
import type { AdministratorCaller, PlatformCaller } from "./caller.ts";
import { type Entity, findEntities } from "./entities.ts";
import { type Framework, findFrameworks, frameworkKey } from "./frameworks.ts";
import { newestKids } from "./key-bundles.ts";
import { keyset, type Page, type PageRequest } from "./paging.ts";

export interface ProjectView {
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
  readonly allowed_platforms: readonly string[];
  readonly grants: readonly {
    readonly platform_id: string | null;
    readonly platform: string;
    readonly name: string | null;
    readonly readonly: boolean;
    readonly from: string;
    readonly expires_at: string | null;
  }[];
  readonly regulatory_frameworks: readonly {
    readonly id: string | null;
    readonly kind: string;
    readonly name: string;
    readonly description_url: string | null;
    readonly reference: string | null;
    readonly valid_from: string | null;
    readonly valid_until: string | null;
  }[];
  readonly involved_entities: readonly {
    readonly id: string | null;
    readonly name: string;
    readonly entity_type: { readonly id: string | null; readonly name: string } | null;
  }[];
  readonly involved_users: readonly { readonly id: string; readonly username: string }[];
  readonly revision: number;
  readonly access: AccessMode | "administrator";
  readonly needs_reseal: boolean;
  readonly deleted_at: string | null;
  readonly created_at: string;
  readonly updated_at: string;
  readonly object?: JsonObject;
  readonly owner_object?: JsonObject;
}

export type ProjectReader = AdministratorCaller | PlatformCaller;

export interface ProjectFilter {
  readonly uri?: string | undefined;
  readonly code?: string | undefined;
  readonly status?: string | undefined;
  readonly name?: string | undefined;
  readonly q?: string | undefined;
  /** Adds `object`, for owner and grantees. */
  readonly includeObject: boolean;
}

/** Rows that the caller may see now; every read of projects begins here. */
function visible(caller: ProjectReader, now: Date): SQL | undefined {
  const present = and(eq(objects.type, "hf:Project"), isNull(objects.deletedAt));
  if (caller.kind === "administrator") return present;
  return and(present, eq(accessRows.platformUri, caller.uri), holdsAt(now));
}

/** The access row of the caller, or one that never matches for an administrator, who has none. */
function ofCaller(caller: ProjectReader): SQL | undefined {
  if (caller.kind === "administrator") return sql`false`;
  return and(eq(accessRows.objectUri, objects.uri), eq(accessRows.platformUri, caller.uri));
}

/** What `caller` may do with the project of that local key; null when nothing, or when there is none. */
export async function readAccess(
  tx: Tx,
  caller: PlatformCaller,
  id: string,
  now: Date,
): Promise<{ readonly uri: string; readonly mode: AccessMode } | null> {
  const [row] = await tx
    .select({ uri: objects.uri, mode: accessRows.mode })
    .from(objects)
    .innerJoin(accessRows, ofCaller(caller))
    .where(and(eq(objects.id, id), visible(caller, now)));
  return row ?? null;
}

/** The local key of a project that the caller may see, by its URI; null when there is none. */
export async function findProjectId(tx: Tx, caller: PlatformCaller, uri: string, now: Date): Promise<string | null> {
  const [row] = await tx
    .select({ id: objects.id })
    .from(objects)
    .innerJoin(accessRows, ofCaller(caller))
    .where(and(eq(objects.uri, uri), visible(caller, now)));
  return row?.id ?? null;
}

/** @throws {Problem} `invalid` for an unknown sort key or cursor */
export async function listProjects(
  tx: Tx,
  caller: ProjectReader,
  request: PageRequest & ProjectFilter,
  now: Date,
): Promise<Page<ProjectView>> {
  const page = keyset(
    request,
    {
      created_at: { by: sql`${objects.createdAt}`, type: "timestamptz" },
      updated_at: { by: sql`${objects.updatedAt}`, type: "timestamptz" },
      code: { by: sql`coalesce(${objects.code}, '')`, type: "text" },
      name: { by: sql`coalesce(${objects.name}, '')`, type: "text" },
      start_date: { by: sql`coalesce(${objects.startDate}, date '0001-01-01')`, type: "date" },
    },
    "created_at",
    { column: sql`${objects.id}`, type: "uuid" },
  );
  const pattern = request.q === undefined ? undefined : `%${request.q.replace(/[\\%_]/g, "\\$&")}%`;
  const rows = await tx
    .select({ row: objects, mode: accessRows.mode, key: objects.id, position: page.position })
    .from(objects)
    .leftJoin(accessRows, ofCaller(caller))
    .where(
      and(
        visible(caller, now),
        request.uri === undefined ? undefined : eq(objects.uri, request.uri),
        request.code === undefined ? undefined : eq(objects.code, request.code),
        request.status === undefined ? undefined : eq(objects.status, request.status),
        request.name === undefined ? undefined : eq(objects.name, request.name),
        pattern === undefined
          ? undefined
          : or(sql`${objects.name} ilike ${pattern}`, sql`${objects.code} ilike ${pattern}`),
        page.after,
      ),
    )
    .orderBy(...page.orderBy)
    .limit(page.limit);
  const names = await readNames(
    tx,
    rows.map(({ row }) => row),
  );
  return page.toPage(rows, ({ row, mode }) => present(row, mode, names, { now, includeObject: request.includeObject }));
}

/** @throws {Problem} `not_found`, also for somebody else's */
export async function getProject(tx: Tx, caller: ProjectReader, id: string, now: Date): Promise<ProjectView> {
  const [found] = await tx
    .select({ row: objects, mode: accessRows.mode })
    .from(objects)
    .leftJoin(accessRows, ofCaller(caller))
    .where(and(eq(objects.id, id), visible(caller, now)));
  if (!found) throw new Problem("not_found");
  return present(found.row, found.mode, await readNames(tx, [found.row]), { now, includeObject: true });
}

/** The project as it stays until the transaction ends. @throws {Problem} `not_found`, also for somebody else's */
export async function lockProject(tx: Tx, caller: PlatformCaller, id: string, now: Date): Promise<ProjectView> {
  const access = await readAccess(tx, caller, id, now);
  if (!access) throw new Problem("not_found");
  await lockObject(tx, access.uri);
  return await getProject(tx, caller, id, now);
}

/** The snapshot of an own object, for a peer that is home to somebody with access to it now. */
export async function readForPeer(tx: Tx, peerOrigin: string, uri: string, now: Date): Promise<JsonObject | null> {
  const [row] = await tx
    .select({ object: objects.object })
    .from(objects)
    .innerJoin(accessRows, eq(accessRows.objectUri, objects.uri))
    .where(
      and(
        eq(objects.uri, uri),
        eq(objects.local, true),
        isNull(objects.deletedAt),
        like(accessRows.platformUri, `${peerOrigin.replace(/[\\%_]/g, "\\$&")}/%`),
        holdsAt(now),
      ),
    )
    .limit(1);
  return row?.object ?? null;
}

type ObjectRow = typeof objects.$inferSelect;

interface Names {
  readonly platforms: ReadonlyMap<
    string,
    { readonly id: string; readonly name: string; readonly homeOrigin: string | null }
  >;
  /** Of each platform the newest encryption kid. */
  readonly newestKids: ReadonlyMap<string, string>;
  readonly entities: ReadonlyMap<string, Entity>;
  readonly frameworks: ReadonlyMap<string, Framework>;
}

const snapshotOf = (row: ObjectRow) => row.object as unknown as Project | null;

/** Local keys and newest kids of what the snapshots name, looked up once for a whole page. */
async function readNames(tx: Tx, rows: readonly ObjectRow[]): Promise<Names> {
  const snapshots = rows.flatMap((row) => snapshotOf(row) ?? []);
  const uris = new Set([
    ...rows.map((row) => row.ownerUri),
    ...snapshots.flatMap((project) => project["hf:grants"].map((grant) => grant.platform)),
  ]);
  const known = uris.size === 0 ? [] : await preparePlatforms(tx).execute({ uris: [...uris] });
  const entityNames = new Set(snapshots.flatMap((project) => (project["hf:entities"] ?? []).map((item) => item.name)));
  return {
    platforms: new Map(known.map((row) => [row.uri, row])),
    newestKids: await newestKids(tx, [...uris]),
    entities: await findEntities(tx, [...entityNames]),
    frameworks: await findFrameworks(
      tx,
      snapshots.flatMap((project) => project["hf:frameworks"] ?? []),
    ),
  };
}

const preparePlatforms = preparedOnce((tx: Tx) =>
  tx
    .select({ uri: platforms.uri, id: platforms.id, name: platforms.name, homeOrigin: platforms.homeOrigin })
    .from(platforms)
    .where(sql`${platforms.uri} = any(${sql.placeholder("uris")}::text[])`)
    .prepare("find_platform_names"),
);

/**
 * Lacks the envelope the newest key of a reader? At the object's home that is the owner and whoever has a live grant,
 * elsewhere those of this node alone: of others it may hold older keys than the sender did.
 */
function needsReseal({ local }: ObjectRow, project: Project, { platforms, newestKids }: Names, now: Date): boolean {
  const grantees = project["hf:grants"].filter((grant) => isLive(grant, now)).map((grant) => grant.platform);
  const parties = local
    ? [project.attributedTo, ...grantees]
    : grantees.filter((platform) => platforms.get(platform)?.homeOrigin === null);
  const kids = listRecipientKids(project as unknown as JsonObject);
  return listUnsealed({ kids, parties, newestKids }).length > 0;
}

function present(
  row: ObjectRow,
  mode: AccessMode | null,
  names: Names,
  { now, includeObject }: { readonly now: Date; readonly includeObject: boolean },
): ProjectView {
  const snapshot = snapshotOf(row);
  const owner = names.platforms.get(row.ownerUri);
  const grants = (snapshot?.["hf:grants"] ?? []).map((grant) => {
    const platform = names.platforms.get(grant.platform);
    return {
      platform_id: platform?.id ?? null,
      platform: grant.platform,
      name: platform?.name ?? null,
      readonly: grant.mode === "readonly",
      from: grant.from,
      expires_at: grant.expires ?? null,
    };
  });
  return {
    id: row.id,
    uri: row.uri,
    code: row.code ?? "",
    name: row.name,
    status: row.status,
    start_date: row.startDate,
    end_date: row.endDate,
    owner_platform: owner?.name ?? null,
    owner_platform_id: owner?.id ?? null,
    owner_uri: row.ownerUri,
    allowed_platforms: grants.map((grant) => grant.name ?? grant.platform),
    grants,
    regulatory_frameworks: (snapshot?.["hf:frameworks"] ?? []).map((item) => {
      const registered = names.frameworks.get(frameworkKey(item));
      return {
        id: registered?.id ?? null,
        kind: item.kind,
        name: item.name,
        description_url: item.url ?? registered?.description_url ?? null,
        reference: item.reference ?? null,
        valid_from: item.validFrom ?? null,
        valid_until: item.validUntil ?? null,
      };
    }),
    involved_entities: (snapshot?.["hf:entities"] ?? []).map((item) => {
      const registered = names.entities.get(item.name);
      return {
        id: registered?.id ?? null,
        name: item.name,
        entity_type: registered?.entity_type ?? (item.type === undefined ? null : { id: null, name: item.type }),
      };
    }),
    involved_users: [],
    revision: row.revision,
    access: mode ?? "administrator",
    needs_reseal: snapshot !== null && needsReseal(row, snapshot, names, now),
    deleted_at: row.deletedAt?.toISOString() ?? null,
    created_at: row.createdAt.toISOString(),
    updated_at: row.updatedAt.toISOString(),
    ...(includeObject && mode !== null && row.object ? { object: row.object } : {}),
    ...(includeObject && mode !== null && row.ownerObject ? { owner_object: row.ownerObject } : {}),
  };
}
