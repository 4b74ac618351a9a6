/**
 * What time takes away: bodies of activities that have done their work, and what repeated requests would be given. Ids,
 * digests and receipts stay for ever.
 *
 * It goes in batches, each a statement of its own: however much there is, locks are held for moments, no statement comes
 * near its limit, and what was done stays done.
 */
import { setTimeout as pause } from "node:timers/promises";
import { type SQL, sql } from "drizzle-orm";
import { longSince } from "../storage/both-clocks.ts";
import type { Tx } from "../storage/database.ts";
import { answersKeptDays } from "./idempotency.ts";

/** Rows that one statement looks at. */
export const batch = 1_000;
/** Between two statements, milliseconds: requests come first. */
const rest = 50;

export interface Age {
  readonly now: Date;
  /** Days that bodies are kept. */
  readonly days: number;
  /** Ends it after the batch that is under way. */
  readonly stopping: AbortSignal;
}

/** Drops what is old: bodies, received ones and sent ones that no delivery still needs, and what answers requests again. */
export async function dropOld(tx: Tx, { now, days, stopping }: Age): Promise<void> {
  const before = longSince(now, days * dayMilliseconds);
  await inBatches(tx, stopping, (after) => dropReceivedBodies(before, after));
  await inBatches(tx, stopping, (after) => dropSentBodies(before, after));
  await inBatches(tx, stopping, () => forgetRequests(longSince(now, answersKeptDays * dayMilliseconds)));
}

const dayMilliseconds = 86_400_000;

/** The last row that a statement has looked at, in the order of their age. */
interface Place {
  readonly at: string;
  readonly id: string;
}

const beginning: Place = { at: "-infinity", id: "" };

async function inBatches(tx: Tx, stopping: AbortSignal, statement: (after: Place) => SQL): Promise<void> {
  let after: Place | undefined = beginning;
  while (!stopping.aborted) {
    const { rows } = (await tx.execute(statement(after))) as unknown as { readonly rows: readonly Place[] };
    after = rows[0];
    if (after === undefined) return;
    await pause(rest, undefined, { signal: stopping }).catch(() => {});
  }
}

/** Rows that another process has in hand are left to it: two that wait for each other would both fail. */
const locked = sql`for no key update skip locked`;
const lastOfBatch = sql`select at::text, id from batch order by batch.at desc, batch.id desc limit 1`;

const dropReceivedBodies = (before: SQL, after: Place) => sql`
  with batch as materialized (
    select received_at as at, id from received_activities
    where body is not null and received_at < ${before} and (received_at, id) > (${after.at}::timestamptz, ${after.id})
    order by received_at, id limit ${batch} ${locked}
  ), dropped as (
    update received_activities set body = null where id = any(array(select id from batch))
  ) ${lastOfBatch}`;

/** Those that a delivery needs are passed over, so that they are not looked at by each statement anew. */
const dropSentBodies = (before: SQL, after: Place) => sql`
  with batch as materialized (
    select created_at as at, id from activities
    where body is not null and created_at < ${before} and (created_at, id) > (${after.at}::timestamptz, ${after.id})
    order by created_at, id limit ${batch} ${locked}
  ), dropped as (
    update activities set body = null where id = any(array(
      select id from batch
      except select activity_id from deliveries
      where activity_id = any(array(select id from batch)) and state in ('queued', 'dead')))
  ) ${lastOfBatch}`;

const forgetRequests = (before: SQL) => sql`
  with batch as materialized (
    select created_at as at, key as id, ctid as place from idempotency_keys
    where created_at < ${before}
    order by created_at limit ${batch} ${locked}
  ), dropped as (
    delete from idempotency_keys where ctid = any(array(select place from batch))
  ) ${lastOfBatch}`;
