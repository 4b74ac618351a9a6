/**
 * A change that is made at most once for an Idempotency-Key: what it gave stands in the same transaction, and is given
 * again to whoever repeats the request. It is stored encrypted under the key itself, of which only a hash is kept: some
 * changes give secrets that the database must not know.
 */
import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from "node:crypto";
import { and, eq } from "drizzle-orm";
import { Problem } from "../errors.ts";
import type { Tx } from "../storage/database.ts";
import { idempotencyKeys } from "../storage/schema.ts";

/** A request that may be repeated: by whom, under which key, and the digest of what it asks for. */
export interface Once {
  readonly caller: string;
  readonly key: string;
  readonly requestDigest: string;
}

/** For how long a request may be repeated, days; the retention forgets what it gave (`registry/retention`). */
export const answersKeptDays = 7;

const hashKey = (key: string) => createHash("sha256").update(key).digest("base64url");
const ofKey = (caller: string, keyHash: string) =>
  and(eq(idempotencyKeys.caller, caller), eq(idempotencyKeys.key, keyHash));
const deriveKey = (key: string) => Buffer.from(hkdfSync("sha256", key, "", "concordat idempotency", 32));

/**
 * What the change gave, undefined where it was not made.
 * @throws {Problem} `idempotency_conflict` when the key came with another request
 */
export async function findMade<T>(tx: Tx, { caller, key, requestDigest }: Once): Promise<T | undefined> {
  const [row] = await tx
    .select()
    .from(idempotencyKeys)
    .where(ofKey(caller, hashKey(key)));
  if (!row) return undefined;
  if (row.requestDigest !== requestDigest) throw new Problem("idempotency_conflict");
  return decrypt(key, row.answer) as T;
}

/**
 * Runs `change`, or gives what it gave before.
 * @throws {Problem} `idempotency_conflict` when the key came with another request
 */
export async function changeOnce<T>(tx: Tx, once: Once | undefined, now: Date, change: () => Promise<T>): Promise<T> {
  if (!once) return await change();
  const { caller, requestDigest } = once;
  const key = hashKey(once.key);
  const reserved = await tx
    .insert(idempotencyKeys)
    .values({ caller, key, requestDigest, answer: "", createdAt: now })
    .onConflictDoNothing()
    .returning({ key: idempotencyKeys.key });
  if (reserved.length === 0) {
    const made = await findMade<T>(tx, once);
    // It was a week old, and forgotten in this moment.
    if (made === undefined) throw new Problem("idempotency_conflict");
    return made;
  }
  const value = await change();
  await tx
    .update(idempotencyKeys)
    .set({ answer: encrypt(once.key, value) })
    .where(ofKey(caller, key));
  return value;
}

function encrypt(key: string, value: unknown): string {
  const iv = randomBytes(12);
  const cipher = createCipheriv("aes-256-gcm", deriveKey(key), iv);
  const text = Buffer.concat([cipher.update(JSON.stringify(value ?? null)), cipher.final()]);
  return Buffer.concat([iv, cipher.getAuthTag(), text]).toString("base64url");
}

function decrypt(key: string, answer: string): unknown {
  const octets = Buffer.from(answer, "base64url");
  const decipher = createDecipheriv("aes-256-gcm", deriveKey(key), octets.subarray(0, 12));
  decipher.setAuthTag(octets.subarray(12, 28));
  return JSON.parse(Buffer.concat([decipher.update(octets.subarray(28)), decipher.final()]).toString());
}
