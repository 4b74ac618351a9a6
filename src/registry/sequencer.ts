/**
 * Numbers the journal. Writers insert rows without a number, so that they never wait for each other's chain; committed
 * rows get `seq`, `prev` and `hash` = SHA-256(prev ‖ seq ‖ digest), in order: a reader at `seq` n has missed nothing below.
 */
import { createHash } from "node:crypto";
import { asc, count, desc, isNotNull, isNull, sql } from "drizzle-orm";
import { createSoon, type Soon } from "../soon.ts";
import type { Database, Tx } from "../storage/database.ts";
import { journal } from "../storage/schema.ts";

const batch = 500;

/** Numbers and chains what is committed and not yet numbered; returns how many rows. Safe to call from anywhere. */
export async function sequenceJournal(database: Database): Promise<number> {
  let numbered = 0;
  for (;;) {
    const rows = await database.transaction(sequenceBatch);
    numbered += rows;
    if (rows < batch) return numbered;
  }
}

async function sequenceBatch(tx: Tx): Promise<number> {
  // One sequencer at a time, whichever process it is in.
  await tx.execute(sql`select pg_advisory_xact_lock(hashtext('concordat.journal'))`);
  const last = tx
    .select({ seq: journal.seq, hash: journal.hash })
    .from(journal)
    .where(isNotNull(journal.seq))
    .orderBy(desc(journal.seq))
    .limit(1)
    .as("last");
  const rows = await tx
    .select({ id: journal.id, digest: journal.digest, head: { seq: last.seq, hash: last.hash } })
    .from(journal)
    .leftJoin(last, sql`true`)
    .where(isNull(journal.seq))
    .orderBy(asc(journal.id))
    .limit(batch);
  if (rows.length === 0) return 0;
  const head = rows[0]?.head;
  let seq = head?.seq ?? 0;
  let prev = head?.hash ?? "";
  const links = rows.map((row) => {
    seq += 1;
    const hash = chainHash(prev, seq, row.digest);
    const link = { id: row.id, seq, prev, hash };
    prev = hash;
    return link;
  });
  await tx.execute(sql`
    update journal set seq = link.seq, prev = link.prev, hash = link.hash
    from json_to_recordset(${JSON.stringify(links)}::json) as link(id bigint, seq bigint, prev text, hash text)
    where journal.id = link.id and journal.id = any(${sql.param(rows.map(({ id }) => id))}::bigint[])`);
  return rows.length;
}

/** Rows that wait for a number: more than a few for longer than moments means that nobody numbers. */
export async function countUnnumbered(tx: Tx): Promise<number> {
  const [row] = await tx.select({ rows: count() }).from(journal).where(isNull(journal.seq));
  return row?.rows ?? 0;
}

export function chainHash(prev: string, seq: number, digest: string): string {
  return sha256(`${prev}.${seq}.${digest}`);
}

const sha256 = (text: string) => createHash("sha256").update(text).digest("base64url");

/** The signal that journal rows have got numbers. */
export const journalSignal = "journal";

export interface SequencerOptions {
  /** Told when the rows that were committed have numbers. */
  readonly onNumbered: () => void;
  /** Gets what fails; the rows wait for the next poke, the sweeper or a reader. */
  readonly onError: (error: unknown) => void;
}

/** Numbers what was committed, soon after and once for all that came meanwhile: readers are told within moments. */
export function createSequencer(database: Database, { onNumbered, onError }: SequencerOptions): Soon {
  const number = async () => {
    await sequenceJournal(database);
    // Also when a reader was quicker: it told nobody.
    onNumbered();
  };
  return createSoon(number, { interval: 25, onError });
}
