/** Entities (hospitals, universities, research bodies) and their types. */
import { and, eq, inArray, sql } from "drizzle-orm";
import { Problem } from "../errors.ts";
import { mintUuid } from "../protocol/ids.ts";
import { isUniqueViolation, type Tx } from "../storage/database.ts";
import { entities, entityTypes } from "../storage/schema.ts";
import { type Caller, nameCaller } from "./caller.ts";
import { recordEffects } from "./journal.ts";
import { keyset, type Page, type PageRequest } from "./paging.ts";

export interface EntityType {
  readonly id: string;
  readonly name: string;
}

export interface Entity {
  readonly id: string;
  readonly name: string;
  readonly entity_type: EntityType;
  readonly ror: string | null;
  readonly finess: string | null;
  readonly city: string | null;
  readonly country: string | null;
}

export interface NewEntity {
  readonly name: string;
  readonly entityTypeId: string;
  readonly ror?: string | null | undefined;
  readonly finess?: string | null | undefined;
  readonly city?: string | null | undefined;
  readonly country?: string | null | undefined;
}

async function insertNamed(insert: () => Promise<unknown>): Promise<void> {
  try {
    await insert();
  } catch (error) {
    if (isUniqueViolation(error)) throw new Problem("id_taken", "The name is taken.");
    throw error;
  }
}

/** @throws {Problem} `id_taken` */
export async function createEntityType(tx: Tx, caller: Caller, name: string, now: Date): Promise<EntityType> {
  const row = { id: mintUuid(), name, createdAt: now };
  await insertNamed(() => tx.insert(entityTypes).values(row));
  await recordEffects(tx, { at: now, actor: nameCaller(caller), action: "entity_type.created", object: row.id });
  return { id: row.id, name };
}

/** Entity types are the same for every caller. */
export async function listEntityTypes(tx: Tx, request: PageRequest): Promise<Page<EntityType>> {
  const page = keyset(request, { name: { by: sql`${entityTypes.name}`, type: "text" } }, "name", {
    column: sql`${entityTypes.id}`,
    type: "uuid",
  });
  const rows = await tx
    .select({ row: entityTypes, key: entityTypes.id, position: page.position })
    .from(entityTypes)
    .where(page.after)
    .orderBy(...page.orderBy)
    .limit(page.limit);
  return page.toPage(rows, ({ row }) => ({ id: row.id, name: row.name }));
}

/** @throws {Problem} `not_found` */
export async function getEntityType(tx: Tx, id: string): Promise<EntityType> {
  const [row] = await tx.select().from(entityTypes).where(eq(entityTypes.id, id));
  if (!row) throw new Problem("not_found");
  return { id: row.id, name: row.name };
}

/** @throws {Problem} `id_taken`, `unknown_reference` */
export async function createEntity(tx: Tx, caller: Caller, wanted: NewEntity, now: Date): Promise<Entity> {
  const [type] = await tx.select().from(entityTypes).where(eq(entityTypes.id, wanted.entityTypeId));
  if (!type) throw new Problem("unknown_reference", "entity_type_id names no entity type.");
  const row = {
    id: mintUuid(),
    name: wanted.name,
    entityTypeId: wanted.entityTypeId,
    ror: wanted.ror ?? null,
    finess: wanted.finess ?? null,
    city: wanted.city ?? null,
    country: wanted.country ?? null,
    createdAt: now,
  };
  await insertNamed(() => tx.insert(entities).values(row));
  await recordEffects(tx, { at: now, actor: nameCaller(caller), action: "entity.created", object: row.id });
  return present(row, type);
}

function present(row: typeof entities.$inferSelect, type: EntityType): Entity {
  const { id, name, ror, finess, city, country } = row;
  return { id, name, entity_type: { id: type.id, name: type.name }, ror, finess, city, country };
}

const rowsWithType = (tx: Tx) =>
  tx
    .select({ row: entities, type: entityTypes })
    .from(entities)
    .innerJoin(entityTypes, eq(entityTypes.id, entities.entityTypeId));

/** Entities are the same for every caller. */
export async function listEntities(
  tx: Tx,
  request: PageRequest & { readonly q?: string | undefined; readonly name?: string | undefined },
): Promise<Page<Entity>> {
  const page = keyset(request, { name: { by: sql`${entities.name}`, type: "text" } }, "name", {
    column: sql`${entities.id}`,
    type: "uuid",
  });
  const pattern = request.q === undefined ? undefined : `%${request.q.replace(/[\\%_]/g, "\\$&")}%`;
  const rows = await tx
    .select({ row: entities, type: entityTypes, key: entities.id, position: page.position })
    .from(entities)
    .innerJoin(entityTypes, eq(entityTypes.id, entities.entityTypeId))
    .where(
      and(
        page.after,
        pattern === undefined ? undefined : sql`${entities.name} ilike ${pattern}`,
        request.name === undefined ? undefined : eq(entities.name, request.name),
      ),
    )
    .orderBy(...page.orderBy)
    .limit(page.limit);
  return page.toPage(rows, ({ row, type }) => present(row, type));
}

/** @throws {Problem} `not_found` */
export async function getEntity(tx: Tx, id: string): Promise<Entity> {
  const [found] = await rowsWithType(tx).where(eq(entities.id, id));
  if (!found) throw new Problem("not_found");
  return present(found.row, found.type);
}

/** Registered entities by name: what an object of a platform here may name. */
export async function findEntities(tx: Tx, names: readonly string[]): Promise<ReadonlyMap<string, Entity>> {
  if (names.length === 0) return new Map();
  const rows = await rowsWithType(tx).where(inArray(entities.name, [...names]));
  return new Map(rows.map(({ row, type }) => [row.name, present(row, type)]));
}
