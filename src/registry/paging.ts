/** Keyset paging: stable under inserts, since a page begins behind a row and not behind a count. */
import { type SQL, sql } from "drizzle-orm";
import { Problem } from "../errors.ts";

export interface PageRequest {
  /** 1 … 200. */
  readonly limit: number;
  readonly cursor?: string | undefined;
  /** A name of `sortKeys`, with `-` in front for descending. */
  readonly sort?: string | undefined;
}

export interface Page<T> {
  readonly items: readonly T[];
  readonly next_cursor: string | null;
}

/** What a list can be sorted by: an expression that is never null, and the type of its text form. */
export interface SortKey {
  readonly by: SQL;
  readonly type: "text" | "timestamptz" | "date" | "bigint";
}

export interface Keyset {
  /** To select beside the row, as `position`. */
  readonly position: SQL<string>;
  readonly after: SQL | undefined;
  readonly orderBy: readonly [SQL, SQL];
  readonly limit: number;
  toPage<Row extends { readonly position: string; readonly key: string }, T>(
    rows: readonly Row[],
    present: (row: Row) => T,
  ): Page<T>;
}

/**
 * @param id unique column, of which the row is selected as `key`
 * @throws {Problem} `invalid` for an unknown sort key or a cursor that no page gave
 */
export function keyset(
  request: PageRequest,
  sortKeys: Readonly<Record<string, SortKey>>,
  fallback: string,
  id: { readonly column: SQL; readonly type: "uuid" | "text" | "bigint" },
): Keyset {
  const wanted = request.sort ?? fallback;
  const descending = wanted.startsWith("-");
  const sort = sortKeys[descending ? wanted.slice(1) : wanted];
  if (!sort) throw invalid("sort", `must be one of ${Object.keys(sortKeys).join(", ")}`);
  const direction = sql.raw(descending ? "desc" : "asc");
  const type = sql.raw(sort.type);
  let after: SQL | undefined;
  if (request.cursor !== undefined) {
    const [position, key] = readCursor(request.cursor, wanted);
    const compare = sql.raw(descending ? "<" : ">");
    after = sql`(${sort.by}, ${id.column}) ${compare} (${position}::${type}, ${key}::${sql.raw(id.type)})`;
  }
  return {
    position: sql<string>`(${sort.by})::text`,
    after,
    orderBy: [sql`${sort.by} ${direction}`, sql`${id.column} ${direction}`],
    limit: request.limit + 1,
    toPage: (rows, present) => {
      const shown = rows.slice(0, request.limit);
      const last = shown.at(-1);
      const more = rows.length > request.limit && last !== undefined;
      return {
        items: shown.map(present),
        next_cursor: more ? writeCursor(wanted, last.position, last.key) : null,
      };
    },
  };
}

function writeCursor(sort: string, position: string, key: string): string {
  return Buffer.from(JSON.stringify([sort, position, key])).toString("base64url");
}

function readCursor(cursor: string, sort: string): readonly [string, string] {
  try {
    const [of, position, key] = JSON.parse(Buffer.from(cursor, "base64url").toString());
    if (of === sort && typeof position === "string" && typeof key === "string") return [position, key];
  } catch {
    // Not a cursor of ours: said below.
  }
  throw invalid("cursor", "is not one that this list gave for this order");
}

function invalid(path: string, message: string): Problem {
  return new Problem("invalid", `${path} ${message}`, { errors: [{ path, code: "invalid", message }] });
}
