/** Regulatory frameworks: what a project or an export rests on. */
import { and, eq, inArray, sql } from "drizzle-orm";
import { Problem } from "../errors.ts";
import { mintUuid } from "../protocol/ids.ts";
import { isUniqueViolation, type Tx } from "../storage/database.ts";
import { frameworks } from "../storage/schema.ts";
import { type Caller, nameCaller } from "./caller.ts";
import { recordEffects } from "./journal.ts";
import { keyset, type Page, type PageRequest } from "./paging.ts";

export interface Framework {
  readonly id: string;
  readonly name: string;
  readonly kind: string;
  readonly description_url: string | null;
  readonly reference: string | null;
  readonly valid_from: string | null;
  readonly valid_until: string | null;
}

/** Members absent stay (or are null in a new one); null clears. */
export interface FrameworkChange {
  readonly name?: string | undefined;
  readonly kind?: string | undefined;
  readonly descriptionUrl?: string | null | undefined;
  readonly reference?: string | null | undefined;
  readonly validFrom?: string | null | undefined;
  readonly validUntil?: string | null | undefined;
}

type Row = typeof frameworks.$inferSelect;

function present(row: Row): Framework {
  return {
    id: row.id,
    name: row.name,
    kind: row.kind,
    description_url: row.descriptionUrl,
    reference: row.reference,
    valid_from: row.validFrom,
    valid_until: row.validUntil,
  };
}

function merge(before: Row, change: FrameworkChange): Row {
  const row = { ...before };
  for (const [key, value] of Object.entries(change)) if (value !== undefined) Object.assign(row, { [key]: value });
  if (row.validFrom !== null && row.validUntil !== null && row.validUntil < row.validFrom) {
    throw new Problem("invalid", "The framework would end before it begins.", {
      errors: [{ path: "valid_until", code: "invalid", message: "ends before it begins" }],
    });
  }
  return row;
}

async function unlessTaken<T>(write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (error) {
    if (isUniqueViolation(error)) throw new Problem("id_taken", "A framework of that kind and name exists.");
    throw error;
  }
}

/** @throws {Problem} `id_taken`, `invalid` */
export async function createFramework(
  tx: Tx,
  caller: Caller,
  wanted: FrameworkChange & { readonly name: string; readonly kind: string },
  now: Date,
): Promise<Framework> {
  const empty = { descriptionUrl: null, reference: null, validFrom: null, validUntil: null, createdAt: now };
  const row = merge({ id: mintUuid(), name: wanted.name, kind: wanted.kind, ...empty }, wanted);
  await unlessTaken(() => tx.insert(frameworks).values(row));
  await recordEffects(tx, { at: now, actor: nameCaller(caller), action: "framework.created", object: row.id });
  return present(row);
}

async function lockRow(tx: Tx, id: string): Promise<Row> {
  const [row] = await tx.select().from(frameworks).where(eq(frameworks.id, id)).for("update");
  if (!row) throw new Problem("not_found");
  return row;
}

/** The framework as it stays until the transaction ends. @throws {Problem} `not_found` */
export async function lockFramework(tx: Tx, id: string): Promise<Framework> {
  return present(await lockRow(tx, id));
}

/** @throws {Problem} `not_found`, `id_taken`, `invalid` */
export async function changeFramework(
  tx: Tx,
  caller: Caller,
  id: string,
  change: FrameworkChange,
  now: Date,
): Promise<Framework> {
  const row = merge(await lockRow(tx, id), change);
  await unlessTaken(() => tx.update(frameworks).set(row).where(eq(frameworks.id, id)));
  await recordEffects(tx, { at: now, actor: nameCaller(caller), action: "framework.changed", object: id });
  return present(row);
}

/** Frameworks are the same for every caller. */
export async function listFrameworks(
  tx: Tx,
  request: PageRequest & { readonly q?: string | undefined; readonly kind?: string | undefined },
): Promise<Page<Framework>> {
  const page = keyset(request, { name: { by: sql`${frameworks.name}`, type: "text" } }, "name", {
    column: sql`${frameworks.id}`,
    type: "uuid",
  });
  const pattern = request.q === undefined ? undefined : `%${request.q.replace(/[\\%_]/g, "\\$&")}%`;
  const rows = await tx
    .select({ row: frameworks, key: frameworks.id, position: page.position })
    .from(frameworks)
    .where(
      and(
        page.after,
        pattern === undefined ? undefined : sql`${frameworks.name} ilike ${pattern}`,
        request.kind === undefined ? undefined : eq(frameworks.kind, request.kind),
      ),
    )
    .orderBy(...page.orderBy)
    .limit(page.limit);
  return page.toPage(rows, ({ row }) => present(row));
}

/** @throws {Problem} `not_found` */
export async function getFramework(tx: Tx, id: string): Promise<Framework> {
  const [row] = await tx.select().from(frameworks).where(eq(frameworks.id, id));
  if (!row) throw new Problem("not_found");
  return present(row);
}

/** How a framework is named in objects: kind and name. */
export const frameworkKey = (item: { readonly kind: string; readonly name: string }) => `${item.kind} ${item.name}`;

/** Registered frameworks by kind and name: what an object of a platform here may name. */
export async function findFrameworks(
  tx: Tx,
  items: readonly { readonly kind: string; readonly name: string }[],
): Promise<ReadonlyMap<string, Framework>> {
  if (items.length === 0) return new Map();
  const names = items.map((item) => item.name);
  const rows = await tx.select().from(frameworks).where(inArray(frameworks.name, names));
  return new Map(rows.map((row) => [frameworkKey(row), present(row)]));
}
