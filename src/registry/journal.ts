/**
 * The journal: every effect and every refusal, in the transaction of what happened; audit and events are views of it.
 *
 * Rows are inserted without a number; `sequencer.ts` numbers and chains them after the commit.
 */
import { createHash, randomBytes } from "node:crypto";
import { and, asc, desc, isNotNull, lt, sql } from "drizzle-orm";
import type { BundleItemReason } from "../crypto/bundle-items.ts";
import type { ProblemCode } from "../errors.ts";
import { canonicalJson } from "../protocol/canonical-json.ts";
import type { Database, Tx } from "../storage/database.ts";
import { insertRows } from "../storage/insert-rows.ts";
import { journal } from "../storage/schema.ts";
import { type Caller, requirePermission } from "./caller.ts";
import { chainHash, sequenceJournal } from "./sequencer.ts";

/** Whose event a row is besides the platforms named in it. */
export const administrators = "administrator";

export interface JournalEntry {
  readonly at: Date;
  readonly actor: string | null;
  /** What was done: `project.shared`, `peer.approved`, `activity.refused`, … */
  readonly action: string;
  readonly object?: string | null;
  readonly address?: string | null;
  /** What the event says besides: revision, and so on. Nothing sensitive. */
  readonly data?: Record<string, unknown>;
  /** Local platform URIs, or `administrators`. */
  readonly audience?: readonly string[];
}

interface Content {
  at: string;
  actor: string | null;
  action: string;
  object: string | null;
  outcome: "ok" | "refused";
  code: string | null;
  address: string | null;
  data: Record<string, unknown> | null;
}

const sha256 = (text: string) => createHash("sha256").update(text).digest("base64url");

/** Digest of a row's content under its salt: what the chain covers, and what survives when the content is erased. */
function digestContent(salt: string, content: Content): string {
  return sha256(`${salt}.${canonicalJson(content)}`);
}

/** What no database gives back as it was written would break the chain: NUL and lone surrogates. */
const storable = (text: string | null | undefined) =>
  text?.replaceAll("\0", "\ufffd").replace(/\p{Surrogate}/gu, "\ufffd") ?? null;

function rowOf(entry: JournalEntry, outcome: "ok" | "refused", code: string | null) {
  const content: Content = {
    at: entry.at.toISOString(),
    actor: storable(entry.actor),
    action: entry.action,
    object: storable(entry.object),
    outcome,
    code,
    address: entry.address ?? null,
    data: entry.data ?? null,
  };
  const salt = randomBytes(16).toString("base64url");
  return {
    ...content,
    at: entry.at,
    salt,
    digest: digestContent(salt, content),
    audience: [...(entry.audience ?? [])],
  };
}

/** Records effects, in the caller's transaction. */
export async function recordEffects(tx: Tx, ...entries: readonly JournalEntry[]): Promise<void> {
  await insertRows(
    tx,
    journal,
    entries.map((entry) => rowOf(entry, "ok", null)),
  );
}

/** Of a request, or of key bundles that came with one that was accepted. */
export type RefusalCode = ProblemCode | BundleItemReason | "bundles_too_many";

/** Records one refusal. */
export async function recordRefusal(tx: Tx, code: RefusalCode, entry: JournalEntry): Promise<void> {
  await insertRows(tx, journal, [rowOf(entry, "refused", code)]);
}

/** Counts refusals: one row per actor (where one is known), address, code and minute, whatever the number. */
export async function countRefusal(tx: Tx, code: ProblemCode, address: string, entry: JournalEntry): Promise<void> {
  const minute = Math.floor(entry.at.getTime() / 60_000);
  await tx
    .insert(journal)
    .values({
      ...rowOf({ ...entry, address }, "refused", code),
      aggregate: `${entry.actor ?? ""} ${address} ${code} ${minute}`,
    })
    .onConflictDoUpdate({ target: journal.aggregate, set: { count: sql`${journal.count} + 1` } });
}

export interface AuditEntry {
  readonly seq: number;
  readonly at: string;
  readonly actor: string | null;
  readonly action: string;
  readonly object: string | null;
  readonly outcome: "ok" | "refused";
  readonly code: string | null;
  readonly count: number;
  readonly address: string | null;
  readonly prev: string;
  readonly hash: string;
}

/** The audit, newest first; whoever reads sees all that was committed before. @throws {Problem} `right_missing` */
export async function listAudit(
  database: Database,
  caller: Caller,
  page: { readonly limit: number; readonly before?: number | undefined },
): Promise<readonly AuditEntry[]> {
  requirePermission(caller, "read_audit");
  await sequenceJournal(database);
  const rows = await database.db
    .select()
    .from(journal)
    .where(and(isNotNull(journal.seq), page.before === undefined ? undefined : lt(journal.seq, page.before)))
    .orderBy(desc(journal.seq))
    .limit(page.limit);
  return rows.map((row) => ({
    seq: row.seq as number,
    at: row.at.toISOString(),
    actor: row.actor,
    action: row.action,
    object: row.object,
    outcome: row.outcome,
    code: row.code,
    count: row.count,
    address: row.address,
    prev: row.prev as string,
    hash: row.hash as string,
  }));
}

export type AuditVerdict =
  /** `erased`: rows whose content and salt are gone, of which the chain vouches for their place alone. */
  | { readonly verified: true; readonly entries: number; readonly erased: number; readonly head: string }
  | { readonly verified: false; readonly seq: number; readonly reason: "chain" | "content" | "gap" };

const verificationBatch = 500;

/** Recomputes the whole chain: each number, each link, and each content whose salt is still there. @throws {Problem} `right_missing` */
export async function verifyJournal(database: Database, caller: Caller): Promise<AuditVerdict> {
  requirePermission(caller, "read_audit");
  await sequenceJournal(database);
  let seq = 0;
  let prev = "";
  let erased = 0;
  for (;;) {
    const rows = await database.db
      .select()
      .from(journal)
      .where(sql`${journal.seq} > ${seq}`)
      .orderBy(asc(journal.seq))
      .limit(verificationBatch);
    if (rows.length === 0) return { verified: true, entries: seq, erased, head: prev };
    for (const row of rows) {
      seq += 1;
      if (row.seq !== seq) return { verified: false, seq, reason: "gap" };
      if (row.prev !== prev || row.hash !== chainHash(prev, seq, row.digest)) {
        return { verified: false, seq, reason: "chain" };
      }
      if (row.salt === null) erased += 1;
      else if (row.digest !== digestRow(row.salt, row)) return { verified: false, seq, reason: "content" };
      prev = row.hash;
    }
  }
}

function digestRow(salt: string, row: typeof journal.$inferSelect): string {
  const { actor, action, object, outcome, code, address, data } = row;
  return digestContent(salt, { at: row.at.toISOString(), actor, action, object, outcome, code, address, data });
}
