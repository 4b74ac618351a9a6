/** Logins and what they open: one row per access token, so that ending the row ends the token at the next request. */
import { createHash, createHmac } from "node:crypto";
import { and, count, eq, gt, inArray, isNull, lt, lte, sql } from "drizzle-orm";
import { Problem } from "../errors.ts";
import { latestBegin } from "../protocol/grants.ts";
import { mintUuid } from "../protocol/ids.ts";
import type { Permission, PlatformRight } from "../protocol/rights.ts";
import { longSince } from "../storage/both-clocks.ts";
import type { Tx } from "../storage/database.ts";
import { preparedOnce } from "../storage/prepared.ts";
import { accessKeys, administrators, loginFailures, platforms, roles, sessions } from "../storage/schema.ts";
import { findAdministrator, verifyPassword } from "./administrators.ts";
import type { AdministratorCaller, PlatformCaller } from "./caller.ts";
import { recordEffects } from "./journal.ts";

/** Seconds for which an access token is good. */
export const sessionSeconds = 900;

const failureWindow = 15 * 60_000;
const failureLimit = 10;

export interface Login {
  readonly sessionId: string;
  readonly subject: string;
  readonly profile: {
    readonly username: string;
    readonly firstname: string | null;
    readonly lastname: string | null;
    readonly email: string | null;
    readonly last_login: string | null;
    readonly role: string;
    readonly is_admin: boolean;
    readonly platform: { readonly id: string; readonly handle: string; readonly uri: string } | null;
  };
}

export type LoginVerdict = { readonly accepted: true; readonly login: Login } | { readonly accepted: false };

/** Access keys carry 256 random bits: a plain hash keeps them, and finds them. */
export function hashAccessKey(key: string): string {
  return createHash("sha256").update(key).digest("hex");
}

export interface LoginContext {
  readonly address: string;
  /** Under which names are hidden that failed to log in; not in the database. */
  readonly secret: Uint8Array;
  readonly now: Date;
}

/** People type their password where the name belongs: what failed to log in is counted, and cannot be read or guessed. */
function hideName(username: string, secret: Uint8Array): string {
  return createHmac("sha256", secret).update(username).digest("base64url");
}

/**
 * Logs an administrator (password) or a platform (handle and access key) in. The caller commits in either case: a
 * refusal is counted against the account and the address.
 * @throws {Problem} `rate_limited` after 10 failures in 15 minutes for the account or the address
 */
export async function logIn(
  tx: Tx,
  credentials: { readonly username: string; readonly password: string },
  { address, secret, now }: LoginContext,
): Promise<LoginVerdict> {
  const { username, password } = credentials;
  const subjects = [`account:${hideName(username, secret)}`, `address:${address}`];
  await refuseGuessing(tx, subjects, now);

  const admin = await findAdministrator(tx, username);
  const passwordFits = await verifyPassword(admin?.administrator.passwordHash, password);
  if (admin && passwordFits && (admin.administrator.expiresAt === null || admin.administrator.expiresAt > now)) {
    return { accepted: true, login: await openForAdministrator(tx, admin, now) };
  }
  const key = admin ? undefined : await findAccessKey(tx, username, password, now);
  if (key) return { accepted: true, login: await openForPlatform(tx, key, now) };

  await tx.insert(loginFailures).values(subjects.map((subject) => ({ subject, at: now })));
  await tx.delete(loginFailures).where(lt(loginFailures.at, longSince(now, failureWindow)));
  return { accepted: false };
}

async function refuseGuessing(tx: Tx, subjects: readonly string[], now: Date): Promise<void> {
  const since = new Date(now.getTime() - failureWindow);
  // What a clock has counted that was far ahead would count for as long.
  const until = latestBegin(now);
  const rows = await tx
    .select({ subject: loginFailures.subject, failures: count() })
    .from(loginFailures)
    .where(
      and(inArray(loginFailures.subject, [...subjects]), gt(loginFailures.at, since), lte(loginFailures.at, until)),
    )
    .groupBy(loginFailures.subject);
  if (rows.some((row) => Number(row.failures) >= failureLimit)) {
    throw new Problem("rate_limited", "Too many failed logins; try again in 15 minutes.", { retry_after: 900 });
  }
}

type AdministratorRow = NonNullable<Awaited<ReturnType<typeof findAdministrator>>>;

async function openForAdministrator(tx: Tx, { administrator, role }: AdministratorRow, now: Date): Promise<Login> {
  await tx.update(administrators).set({ lastLogin: now }).where(eq(administrators.id, administrator.id));
  const sessionId = await openSession(tx, { administratorId: administrator.id }, now);
  const { username, firstname, lastname, email, lastLogin } = administrator;
  await recordEffects(tx, { at: now, actor: `administrator:${username}`, action: "session.opened" });
  return {
    sessionId,
    subject: username,
    profile: {
      username,
      firstname,
      lastname,
      email,
      last_login: lastLogin?.toISOString() ?? null,
      role: role.name,
      is_admin: true,
      platform: null,
    },
  };
}

async function findAccessKey(tx: Tx, handle: string, key: string, now: Date) {
  const [row] = await tx
    .select({ accessKey: accessKeys, platform: platforms })
    .from(accessKeys)
    .innerJoin(platforms, eq(platforms.id, accessKeys.platformId))
    .where(and(eq(accessKeys.hash, hashAccessKey(key)), eq(platforms.handle, handle), isNull(platforms.homeOrigin)))
    // A suspension waits for this login and ends what it opened, or was first and is seen here.
    .for("share", { of: platforms });
  return row && isUsable(row.accessKey, now) && row.platform.status === "active" ? row : undefined;
}

/** Valid at `now`; one that was made by a clock that is ahead has begun already. */
function isUsable(key: typeof accessKeys.$inferSelect, now: Date): boolean {
  return key.archivedAt === null && key.startsAt <= latestBegin(now) && now < key.endsAt;
}

type AccessKeyRow = NonNullable<Awaited<ReturnType<typeof findAccessKey>>>;

async function openForPlatform(tx: Tx, { accessKey, platform }: AccessKeyRow, now: Date): Promise<Login> {
  await tx.update(accessKeys).set({ lastUsedAt: now }).where(eq(accessKeys.id, accessKey.id));
  const sessionId = await openSession(tx, { accessKeyId: accessKey.id }, now);
  await recordEffects(tx, { at: now, actor: platform.uri, action: "session.opened", data: { key: accessKey.prefix } });
  return {
    sessionId,
    subject: platform.uri,
    profile: {
      username: platform.handle,
      firstname: null,
      lastname: null,
      email: null,
      last_login: accessKey.lastUsedAt?.toISOString() ?? null,
      role: "platform",
      is_admin: false,
      platform: { id: platform.id, handle: platform.handle, uri: platform.uri },
    },
  };
}

async function openSession(
  tx: Tx,
  of: { readonly administratorId: string } | { readonly accessKeyId: string },
  now: Date,
): Promise<string> {
  await tx.delete(sessions).where(lt(sessions.expiresAt, longSince(now, 86_400_000)));
  const id = mintUuid();
  const expiresAt = new Date(now.getTime() + sessionSeconds * 1000);
  await tx.insert(sessions).values({ id, ...of, createdAt: now, expiresAt });
  return id;
}

/** Who holds this session now: null when it ended, or what opened it was suspended, archived or has expired. */
export async function resolveSession(
  tx: Tx,
  sessionId: string,
  now: Date,
): Promise<AdministratorCaller | PlatformCaller | null> {
  const [row] = await findLive(tx, [sessionId], now);
  return row === undefined ? null : callerOf(row, now);
}

/** Sessions that have not ended, with what opened them. */
async function findLive(tx: Tx, sessionIds: readonly string[], now: Date) {
  return await prepareLive(tx).execute({ sessionIds, now: now.toISOString() });
}

/** Asked by every request. */
const prepareLive = preparedOnce((tx: Tx) =>
  tx
    .select({
      session: sessions,
      administrator: administrators,
      role: roles,
      accessKey: accessKeys,
      platform: platforms,
    })
    .from(sessions)
    .leftJoin(administrators, eq(administrators.id, sessions.administratorId))
    .leftJoin(roles, eq(roles.id, administrators.roleId))
    .leftJoin(accessKeys, eq(accessKeys.id, sessions.accessKeyId))
    .leftJoin(platforms, eq(platforms.id, accessKeys.platformId))
    .where(
      and(
        sql`${sessions.id} = any(${sql.placeholder("sessionIds")}::uuid[])`,
        isNull(sessions.endedAt),
        sql`${sessions.expiresAt} > ${sql.placeholder("now")}::timestamptz`,
      ),
    )
    .prepare("find_live_sessions"),
);

type LiveRow = Awaited<ReturnType<typeof findLive>>[number];

/** Who a session speaks for; null when what opened it was suspended, archived or has expired. */
function callerOf(row: LiveRow, now: Date): AdministratorCaller | PlatformCaller | null {
  const sessionId = row.session.id;
  if (row.administrator && row.role) {
    const { id, username: name, expiresAt } = row.administrator;
    if (expiresAt !== null && expiresAt <= now) return null;
    return {
      kind: "administrator",
      id,
      name,
      permissions: new Set(row.role.permissions as Permission[]),
      sessionId,
    };
  }
  if (row.accessKey && row.platform && isUsable(row.accessKey, now) && row.platform.status === "active") {
    const { id, uri, handle, rights } = row.platform;
    const subset = row.accessKey.rights;
    const granted = subset === null ? rights : rights.filter((right) => subset.includes(right));
    return { kind: "platform", id, uri, handle, rights: new Set(granted as PlatformRight[]), sessionId };
  }
  return null;
}

export interface LiveSession {
  /** As the session may act now. */
  readonly caller: AdministratorCaller | PlatformCaller;
  /** When it will end by itself. */
  readonly end: Date;
}

/** These sessions by their ids; one that has ended, or that is nobody's any more, is missing. */
export async function readSessions(
  tx: Tx,
  sessionIds: readonly string[],
  now: Date,
): Promise<ReadonlyMap<string, LiveSession>> {
  const rows = await findLive(tx, sessionIds, now);
  return new Map(
    rows.flatMap((row) => {
      const caller = callerOf(row, now);
      if (caller === null) return [];
      const { id, expiresAt } = row.session;
      const opener = row.accessKey?.endsAt ?? row.administrator?.expiresAt ?? expiresAt;
      return [[id, { caller, end: new Date(Math.min(opener.getTime(), expiresAt.getTime())) }] as const];
    }),
  );
}

/** Ends a session: its token is refused from the next request on. */
export async function endSession(tx: Tx, sessionId: string, now: Date): Promise<void> {
  await tx.update(sessions).set({ endedAt: now }).where(eq(sessions.id, sessionId));
}

/** Ends every session of a platform, for good: its access keys may open others. */
export async function endSessionsOf(tx: Tx, platformId: string, now: Date): Promise<void> {
  const keys = tx.select({ id: accessKeys.id }).from(accessKeys).where(eq(accessKeys.platformId, platformId));
  await tx
    .update(sessions)
    .set({ endedAt: now })
    .where(and(inArray(sessions.accessKeyId, keys), isNull(sessions.endedAt)));
}
