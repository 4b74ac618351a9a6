/** Events: the journal as one platform, or the administrators, may see it (docs/rest.md, "Events"). */
import { and, arrayContains, asc, desc, gt, gte, inArray, isNotNull, sql } from "drizzle-orm";
import { Problem } from "../errors.ts";
import type { JsonObject } from "../protocol/objects.ts";
import type { Permission, PlatformRight } from "../protocol/rights.ts";
import type { Database, Tx } from "../storage/database.ts";
import { journal } from "../storage/schema.ts";
import type { AdministratorCaller, PlatformCaller } from "./caller.ts";
import { administrators } from "./journal.ts";
import { sequenceJournal } from "./sequencer.ts";

export interface Event {
  /** Number of the journal's row; ascending, with gaps. */
  readonly id: number;
  readonly type: string;
  readonly at: string;
  readonly object: string | null;
  readonly revision?: number;
  readonly actor?: string;
  readonly data?: JsonObject;
}

/** What an event is about: its type up to the dot. Each needs what the routes for the same need; others are not told. */
const topics: Readonly<
  Record<string, { readonly administrator: Permission; readonly platform: PlatformRight | "any" }>
> = {
  project: { administrator: "manage_projects", platform: "projects:read" },
  peer: { administrator: "manage_peers", platform: "directory:read" },
  platform: { administrator: "manage_platforms", platform: "any" },
  bundle: { administrator: "manage_platforms", platform: "any" },
  access_key: { administrator: "manage_access_keys", platform: "any" },
  administrator: { administrator: "manage_users", platform: "any" },
  delivery: { administrator: "manage_deliveries", platform: "any" },
};

function topicsOf(caller: AdministratorCaller | PlatformCaller): readonly string[] {
  const held: ReadonlySet<string> = caller.kind === "platform" ? caller.rights : caller.permissions;
  return Object.entries(topics).flatMap(([topic, needed]) => {
    const right = needed[caller.kind];
    return right === "any" || held.has(right) ? topic : [];
  });
}

/** Whom a row must name so that it is an event to the caller. */
export function audienceOf(caller: AdministratorCaller | PlatformCaller): string {
  return caller.kind === "platform" ? caller.uri : administrators;
}

/** Events after `after` that the caller has the rights to, in order; what was numbered so far. */
export async function listEvents(
  tx: Tx,
  caller: AdministratorCaller | PlatformCaller,
  { after, limit }: { readonly after: number; readonly limit: number },
): Promise<readonly Event[]> {
  const rows = await tx
    .select()
    .from(journal)
    .where(
      and(
        gt(journal.seq, after),
        isEvent,
        arrayContains(journal.audience, [audienceOf(caller)]),
        inArray(sql`split_part(${journal.action}, '.', 1)`, [...topicsOf(caller)]),
      ),
    )
    .orderBy(asc(journal.seq))
    .limit(limit);
  return rows.map(toEvent);
}

/** As the index knows them. */
const isEvent = sql`${journal.audience} <> '{}'`;

function toEvent(row: typeof journal.$inferSelect): Event {
  const { revision, ...data } = row.data ?? {};
  return {
    id: row.seq as number,
    type: row.action,
    at: row.at.toISOString(),
    object: row.object,
    ...(typeof revision === "number" ? { revision } : {}),
    ...(row.actor === null ? {} : { actor: row.actor }),
    ...(Object.keys(data).length > 0 ? { data } : {}),
  };
}

/** The number of the newest row that was committed before; 0 in an empty journal. */
export async function readHead(database: Database): Promise<number> {
  await sequenceJournal(database);
  const [row] = await database.db
    .select({ seq: journal.seq })
    .from(journal)
    .where(isNotNull(journal.seq))
    .orderBy(desc(journal.seq))
    .limit(1);
  return row?.seq ?? 0;
}

/**
 * Refuses an event that this journal has not come to. It may have been restored from an older copy, and whoever waited
 * for its numbers to get there would miss what is told meanwhile.
 * @throws {Problem} `event_unknown`, with the newest id as `last_id`
 */
export async function requireReached(database: Database, event: number): Promise<void> {
  if (event === 0) return;
  const [reached] = await database.db
    .select({ seq: journal.seq })
    .from(journal)
    .where(gte(journal.seq, event))
    .limit(1);
  if (reached) return;
  const last = await readHead(database);
  if (last >= event) return;
  throw new Problem(
    "event_unknown",
    `The newest event here is ${last}; there is none with the id ${event}. It may be of another instance, or this one has ` +
      "come back from an older copy of its data, and what it told after that is lost. Read again what you follow, then " +
      `begin after ${last}.`,
    { last_id: last },
  );
}

/** Whom the events after `after` are for, at most `limit` of them, and how far that looked. */
export async function listAudiences(
  tx: Tx,
  after: number,
  limit: number,
): Promise<{ readonly audiences: ReadonlySet<string>; readonly last: number; readonly full: boolean }> {
  const rows = await tx
    .select({ seq: journal.seq, audience: journal.audience })
    .from(journal)
    .where(and(gt(journal.seq, after), isEvent))
    .orderBy(asc(journal.seq))
    .limit(limit);
  return {
    audiences: new Set(rows.flatMap(({ audience }) => audience)),
    last: rows.at(-1)?.seq ?? after,
    full: rows.length === limit,
  };
}
