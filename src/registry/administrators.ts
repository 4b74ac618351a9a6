/** Administrators of the node and their roles. */
import { hash, verify } from "@node-rs/argon2";
import { eq, sql } from "drizzle-orm";
import { mintUuid } from "../protocol/ids.ts";
import { permissions } from "../protocol/rights.ts";
import type { Tx } from "../storage/database.ts";
import { administrators, roles } from "../storage/schema.ts";
import { recordEffects } from "./journal.ts";

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

/** The first administrator `admin`, with every permission, at the first start. */
export async function createFirstAdministrator(tx: Tx, password: string, now: Date): Promise<void> {
  const roleId = mintUuid();
  await tx.insert(roles).values({ id: roleId, name: "administrator", permissions: [...permissions] });
  await tx.insert(administrators).values({
    id: mintUuid(),
    username: "admin",
    passwordHash: await hash(password),
    roleId,
    createdAt: now,
  });
  await recordEffects(tx, { at: now, actor: "node", action: "administrator.created", object: "admin" });
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
