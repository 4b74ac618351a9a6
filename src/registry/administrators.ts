/** Administrators of the node and their roles. */
import { hash, verify } from "@node-rs/argon2";
import { and, eq, isNull, like, sql } from "drizzle-orm";
import { ConcordatError } from "../errors.ts";
import { mintUuid } from "../protocol/ids.ts";
import { permissions } from "../protocol/rights.ts";
import type { Tx } from "../storage/database.ts";
import { administrators, loginFailures, roles, sessions } from "../storage/schema.ts";
import { administrators as everyAdministrator, recordEffects } from "./journal.ts";

/** A hash of no password, so that a login under an unknown name costs the same time. */
const nobody = await hash("no password has this hash");

/** Is `password` that of the stored hash? Takes as long for a hash that is not there. */
export async function verifyPassword(passwordHash: string | undefined, password: string): Promise<boolean> {
  const verified = await verify(passwordHash ?? nobody, password);
  return verified && passwordHash !== undefined;
}

export async function hasAdministrator(tx: Tx): Promise<boolean> {
  const [row] = await tx.select({ id: administrators.id }).from(administrators).limit(1);
  return row !== undefined;
}

/** Whether this transaction is to make the first administrator; of processes that start together, one. */
export async function mayCreateFirst(tx: Tx): Promise<boolean> {
  await tx.execute(sql`select pg_advisory_xact_lock(hashtext('concordat.first-administrator'))`);
  return !(await hasAdministrator(tx));
}

/** Their name at the first start. */
export const firstAdministrator = "admin";

/** The first administrator, with every permission, at the first start. */
export async function createFirstAdministrator(tx: Tx, password: string, now: Date): Promise<void> {
  const roleId = mintUuid();
  await tx.insert(roles).values({ id: roleId, name: "administrator", permissions: [...permissions] });
  await tx.insert(administrators).values({
    id: mintUuid(),
    username: firstAdministrator,
    passwordHash: await hash(password),
    roleId,
    createdAt: now,
  });
  await recordEffects(tx, { at: now, actor: "node", action: "administrator.created", object: firstAdministrator });
}

/**
 * Gives an administrator another password: who is logged in with the old one is out, and failed guesses at accounts no
 * longer count.
 * @throws {ConcordatError} `not_found`, naming those that there are
 */
export async function replacePassword(tx: Tx, username: string, password: string, now: Date): Promise<void> {
  const [replaced] = await tx
    .update(administrators)
    .set({ passwordHash: await hash(password) })
    .where(eq(administrators.username, username))
    .returning({ id: administrators.id });
  if (replaced === undefined) {
    const known = await tx.select({ username: administrators.username }).from(administrators);
    const names = known.map((one) => one.username).join(", ");
    throw new ConcordatError("not_found", `There is no administrator ${username} here; there is ${names || "none"}.`);
  }
  await tx
    .update(sessions)
    .set({ endedAt: now })
    .where(and(eq(sessions.administratorId, replaced.id), isNull(sessions.endedAt)));
  // Of whom each is, only the node that runs can tell.
  await tx.delete(loginFailures).where(like(loginFailures.subject, "account:%"));
  await recordEffects(tx, {
    at: now,
    actor: "node",
    action: "administrator.password_reset",
    object: username,
    audience: [everyAdministrator],
  });
}

/** The administrator of that name, for the login. */
export async function findAdministrator(tx: Tx, username: string) {
  const [row] = await tx
    .select({ administrator: administrators, role: roles })
    .from(administrators)
    .innerJoin(roles, eq(roles.id, administrators.roleId))
    .where(eq(administrators.username, username));
  return row;
}
