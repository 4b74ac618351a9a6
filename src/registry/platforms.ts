/** Platforms: those of this node, to which only an administrator gives access, and those that peers told of. */
import { and, asc, eq, inArray, isNull, ne, or, sql } from "drizzle-orm";
import { Problem } from "../errors.ts";
import { actorIds, mintUuid } from "../protocol/ids.ts";
import { defaultRights, type PlatformRight } from "../protocol/rights.ts";
import { isUniqueViolation, type Tx } from "../storage/database.ts";
import { type PlatformStatus, peers, platforms } from "../storage/schema.ts";
import { type AccessKey, issueAccessKey, type NewAccessKey } from "./access-keys.ts";
import { type Caller, nameCaller, type PlatformCaller } from "./caller.ts";
import { administrators, recordEffects } from "./journal.ts";
import { fingerprintOfKid, newestBundles } from "./key-bundles.ts";
import { keyset, type Page, type PageRequest } from "./paging.ts";
import { peeredStates } from "./peer-states.ts";
import { remotePlatform } from "./remote-platforms.ts";
import { endSessionsOf } from "./sessions.ts";

export type PlatformRow = typeof platforms.$inferSelect;

export interface Platform {
  readonly id: string;
  readonly uri: string;
  readonly handle: string;
  readonly name: string;
  readonly status: PlatformStatus;
  readonly rights: readonly string[];
  readonly home_instance: string | null;
  readonly user_account: string | null;
  readonly key_bundle: { readonly seq: number; readonly fingerprint: string; readonly expires_at: string } | null;
  readonly owned_project_count: number;
  readonly shared_project_count: number;
  readonly created_at: string;
}

export interface Recipient {
  readonly id: string;
  readonly uri: string;
  readonly handle: string;
  readonly name: string;
  readonly home_instance: string | null;
  readonly fingerprint: string | null;
}

/** A slug of a name: `CHU de Rennes` → `chu-de-rennes`. */
function handleFromName(name: string): string {
  return name
    .normalize("NFKD")
    .toLowerCase()
    .replace(/\p{M}/gu, "")
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-+|-+$/g, "")
    .slice(0, 60)
    .replace(/-+$/, "");
}

const projectCount = (mode: "owned" | "shared") => sql<number>`(
  select count(*)::int from access a join objects o on o.uri = a.object_uri
  where a.platform_uri = ${platforms.uri} and o.type = 'hf:Project' and o.deleted_at is null and a.ended_revision is null
  and a.mode ${mode === "owned" ? sql`= 'owner'` : sql`<> 'owner'`})`;

async function presentAll(tx: Tx, where: ReturnType<typeof and>): Promise<ReadonlyMap<string, Platform>> {
  const rows = await tx
    .select({ row: platforms, owned: projectCount("owned"), shared: projectCount("shared") })
    .from(platforms)
    .where(where);
  const bundles = await newestBundles(
    tx,
    rows.map(({ row }) => row.uri),
  );
  return new Map(
    rows.map(({ row, owned, shared }) => {
      const bundle = bundles.get(row.uri);
      return [
        row.id,
        {
          id: row.id,
          uri: row.uri,
          handle: row.handle,
          name: row.name,
          status: row.status,
          rights: row.rights,
          home_instance: row.homeOrigin,
          user_account: row.homeOrigin === null ? row.handle : null,
          key_bundle: bundle
            ? {
                seq: bundle.seq,
                fingerprint: fingerprintOfKid(bundle.identityKid),
                expires_at: bundle.expiresAt.toISOString(),
              }
            : null,
          owned_project_count: owned,
          shared_project_count: shared,
          created_at: row.createdAt.toISOString(),
        },
      ] as const;
    }),
  );
}

export interface NewPlatform {
  readonly name: string;
  readonly handle?: string | undefined;
  readonly rights?: readonly PlatformRight[] | undefined;
  readonly accessKey?: Omit<NewAccessKey, "platformId"> | undefined;
}

/**
 * Gives a platform access: platform and first access key, both or neither.
 * @throws {Problem} `id_taken`, `invalid`
 */
export async function createPlatform(
  tx: Tx,
  caller: Caller,
  wanted: NewPlatform,
  { origin, now, days }: { readonly origin: string; readonly now: Date; readonly days: number },
): Promise<Platform & { readonly access_keys: readonly (AccessKey & { readonly key: string })[] }> {
  const handle = wanted.handle ?? handleFromName(wanted.name);
  if (handle === "") {
    throw new Problem("invalid", "No handle can be made of that name; give one.", {
      errors: [{ path: "handle", code: "missing", message: "needed for this name" }],
    });
  }
  const row: PlatformRow = {
    id: mintUuid(),
    uri: actorIds.platform(origin, handle),
    handle,
    homeOrigin: null,
    name: wanted.name,
    rights: [...(wanted.rights ?? defaultRights)],
    status: "active",
    membership: null,
    membershipIat: null,
    createdAt: now,
    updatedAt: now,
  };
  try {
    await tx.insert(platforms).values(row);
  } catch (error) {
    if (isUniqueViolation(error)) throw new Problem("id_taken", "The handle is taken; handles are never reused.");
    throw error;
  }
  await recordEffects(tx, {
    at: now,
    actor: nameCaller(caller),
    action: "platform.created",
    object: row.uri,
    audience: [administrators],
  });
  const key = await issueAccessKey(tx, caller, { ...wanted.accessKey, platformId: row.id }, { now, days });
  const platform = (await presentAll(tx, eq(platforms.id, row.id))).get(row.id) as Platform;
  return { ...platform, access_keys: [key] };
}

/** All for an administrator, itself for a platform. */
export async function listPlatforms(
  tx: Tx,
  caller: Caller,
  request: PageRequest & { readonly q?: string | undefined; readonly uri?: string | undefined },
): Promise<Page<Platform>> {
  const page = keyset(
    request,
    {
      created_at: { by: sql`${platforms.createdAt}`, type: "timestamptz" },
      name: { by: sql`${platforms.name}`, type: "text" },
      handle: { by: sql`${platforms.handle}`, type: "text" },
    },
    "created_at",
    { column: sql`${platforms.id}`, type: "uuid" },
  );
  const rows = await tx
    .select({ key: platforms.id, position: page.position })
    .from(platforms)
    .where(
      and(
        caller.kind === "platform" ? eq(platforms.id, caller.id) : undefined,
        request.uri === undefined ? undefined : eq(platforms.uri, request.uri),
        request.q === undefined ? undefined : matchText(request.q),
        page.after,
      ),
    )
    .orderBy(...page.orderBy)
    .limit(page.limit);
  const shown = await presentAll(
    tx,
    rows.length === 0
      ? sql`false`
      : inArray(
          platforms.id,
          rows.map(({ key }) => key),
        ),
  );
  return page.toPage(rows, ({ key }) => shown.get(key) as Platform);
}

function matchText(q: string) {
  const pattern = `%${q.replace(/[\\%_]/g, "\\$&")}%`;
  return or(sql`${platforms.name} ilike ${pattern}`, sql`${platforms.handle} ilike ${pattern}`);
}

/** @throws {Problem} `not_found`, also for another platform's */
export async function getPlatform(tx: Tx, caller: Caller, id: string): Promise<Platform> {
  const shown = caller.kind === "platform" && caller.id !== id ? undefined : await presentAll(tx, eq(platforms.id, id));
  const platform = shown?.get(id);
  if (!platform) throw new Problem("not_found");
  return platform;
}

/** The platform as it stays until the transaction ends. @throws {Problem} `not_found`, also for another platform's */
export async function lockPlatform(tx: Tx, caller: Caller, id: string): Promise<Platform> {
  await tx.select({ id: platforms.id }).from(platforms).where(eq(platforms.id, id)).for("no key update");
  return await getPlatform(tx, caller, id);
}

export interface PlatformChange {
  readonly name?: string | undefined;
  readonly rights?: readonly PlatformRight[] | undefined;
  readonly status?: "active" | "suspended" | undefined;
}

/**
 * Changes a platform of this node; a platform may change its own name, an administrator all of it.
 * @throws {Problem} `not_found`, `right_missing`
 */
export async function changePlatform(
  tx: Tx,
  caller: Caller,
  id: string,
  change: PlatformChange,
  now: Date,
): Promise<Platform> {
  await getPlatform(tx, caller, id);
  if (caller.kind === "platform" && (change.rights ?? change.status) !== undefined) {
    throw new Problem("right_missing", "Rights and status are the administrator's to change.");
  }
  const [row] = await tx
    .update(platforms)
    .set({
      updatedAt: now,
      ...(change.name === undefined ? {} : { name: change.name }),
      ...(change.rights === undefined ? {} : { rights: [...change.rights] }),
      ...(change.status === undefined ? {} : { status: change.status }),
    })
    .where(and(eq(platforms.id, id), isNull(platforms.homeOrigin), isThere))
    .returning();
  if (!row) throw new Problem("state_conflict", "That platform is at home on another instance, or was removed.");
  const suspended = change.status === "suspended";
  // What it is suspended for may be that somebody else has a token: resuming must not give that back.
  if (suspended) await endSessionsOf(tx, id, now);
  await recordEffects(tx, {
    at: now,
    actor: nameCaller(caller),
    action: suspended ? "platform.suspended" : "platform.updated",
    object: row.uri,
    audience: [row.uri, administrators],
  });
  return await getPlatform(tx, caller, id);
}

/** Those whom a platform may share with: active, local or of an approved peer, not itself. */
export async function listRecipients(tx: Tx, caller: PlatformCaller, request: PageRequest): Promise<Page<Recipient>> {
  const page = keyset(
    request,
    { handle: { by: sql`${platforms.handle}`, type: "text" }, name: { by: sql`${platforms.name}`, type: "text" } },
    "handle",
    { column: sql`${platforms.id}`, type: "uuid" },
  );
  const rows = await tx
    .select({ row: platforms, key: platforms.id, position: page.position })
    .from(platforms)
    .leftJoin(peers, eq(peers.origin, platforms.homeOrigin))
    .where(
      and(
        ne(platforms.id, caller.id),
        eq(platforms.status, "active"),
        or(isNull(platforms.homeOrigin), eq(peers.state, "approved")),
        page.after,
      ),
    )
    .orderBy(...page.orderBy)
    .limit(page.limit);
  const bundles = await newestBundles(
    tx,
    rows.map(({ row }) => row.uri),
  );
  return page.toPage(rows, ({ row }) => {
    const bundle = bundles.get(row.uri);
    return {
      id: row.id,
      uri: row.uri,
      handle: row.handle,
      name: row.name,
      home_instance: row.homeOrigin,
      fingerprint: bundle ? fingerprintOfKid(bundle.identityKid) : null,
    };
  });
}

/** Not removed. */
const isThere = ne(platforms.status, "removed");

const localAmong = (uris: readonly string[]) =>
  and(inArray(platforms.uri, [...uris]), isNull(platforms.homeOrigin), isThere);

/** Which of `uris` a grant may name: platforms of this node, and of peers that are approved or for now suspended. */
export async function findReachable(tx: Tx, uris: readonly string[]): Promise<ReadonlyMap<string, PlatformRow>> {
  if (uris.length === 0) return new Map();
  const rows = await tx
    .select({ row: platforms })
    .from(platforms)
    .leftJoin(peers, eq(peers.origin, platforms.homeOrigin))
    .where(
      and(
        inArray(platforms.uri, [...uris]),
        isThere,
        or(isNull(platforms.homeOrigin), inArray(peers.state, [...peeredStates])),
      ),
    );
  return new Map(rows.map(({ row }) => [row.uri, row]));
}

/** Was one of `uris` a platform of this node? What still comes for it has been overtaken by its removal. */
export async function wasOneLocal(tx: Tx, uris: readonly string[]): Promise<boolean> {
  const removed = and(isNull(platforms.homeOrigin), eq(platforms.status, "removed"));
  const rows = await tx
    .select({ uri: platforms.uri })
    .from(platforms)
    .where(and(inArray(platforms.uri, [...uris]), removed))
    .limit(1);
  return rows.length > 0;
}

export async function isRemoved(tx: Tx, uri: string): Promise<boolean> {
  const [row] = await tx
    .select({ status: platforms.status })
    .from(platforms)
    .where(eq(platforms.uri, uri))
    .for("key share");
  return row?.status === "removed";
}

/**
 * Which of `uris` are platforms of this node, and stay so until the transaction ends: a removal waits for it, and then
 * sees what it wrote. Must come before the transaction locks an object, as a removal does.
 */
export async function holdLocal(tx: Tx, uris: readonly string[]): Promise<ReadonlySet<string>> {
  if (uris.length === 0) return new Set();
  const rows = await tx
    .select({ uri: platforms.uri })
    .from(platforms)
    .where(localAmong(uris))
    .orderBy(asc(platforms.uri))
    .for("key share");
  return new Set(rows.map((row) => row.uri));
}

/** Waits for the transactions that hold a platform; from then on none of them finds it. One removal at a time. */
export async function lockForRemoval(tx: Tx, uri: string): Promise<void> {
  await tx.execute(sql`select pg_advisory_xact_lock(hashtext('concordat.removals'))`);
  await tx.select({ id: platforms.id }).from(platforms).where(eq(platforms.uri, uri)).for("update");
}

/** Which of `uris` are platforms of this node. */
export async function findLocal(tx: Tx, uris: readonly string[]): Promise<ReadonlySet<string>> {
  if (uris.length === 0) return new Set();
  const rows = await tx.select({ uri: platforms.uri }).from(platforms).where(localAmong(uris));
  return new Set(rows.map((row) => row.uri));
}

/** A platform of this node by its handle: what actor documents and WebFinger are made of, which are public. */
export async function findLocalByHandle(tx: Tx, handle: string): Promise<PlatformRow | undefined> {
  const [row] = await tx
    .select()
    .from(platforms)
    .where(and(eq(platforms.handle, handle), isNull(platforms.homeOrigin)));
  return row;
}

/** Platforms of this node that have published a key bundle: what a peer learns of. */
export async function listPublished(tx: Tx): Promise<readonly PlatformRow[]> {
  return await tx
    .select()
    .from(platforms)
    .where(and(isNull(platforms.homeOrigin), eq(platforms.status, "active"), sql`${platforms.membership} is not null`));
}

/** Platforms of this node that are gone. */
export async function listRemoved(tx: Tx): Promise<readonly PlatformRow[]> {
  return await tx
    .select()
    .from(platforms)
    .where(and(isNull(platforms.homeOrigin), eq(platforms.status, "removed")));
}

/** Records what a peer says of one of its platforms; false when that platform was removed before. */
export async function upsertRemotePlatform(
  tx: Tx,
  platform: { readonly uri: string; readonly handle: string; readonly name: string },
  now: Date,
): Promise<boolean> {
  const { uri, handle, name } = platform;
  const rows = await tx
    .insert(platforms)
    .values(remotePlatform(uri, now, { handle, name }))
    .onConflictDoUpdate({ target: platforms.uri, set: { name, handle, updatedAt: now }, setWhere: isThere })
    .returning({ uri: platforms.uri });
  return rows.length > 0;
}
