/**
 * Many rows in one statement of one parameter, which is JSON: what drizzle builds for each value costs more than storing
 * it does.
 */
import { getTableColumns, getTableName, type SQL, sql } from "drizzle-orm";
import type { PgColumn, PgTable } from "drizzle-orm/pg-core";
import type { Tx } from "./database.ts";

/**
 * Inserts rows that all have the same members; columns without one get their default. Values are what JSON has, and
 * dates: no octets, and no numbers that JavaScript does not have.
 */
export async function insertRows<Table extends PgTable>(
  tx: Tx,
  table: Table,
  rows: readonly Table["$inferInsert"][],
): Promise<void> {
  const [first] = rows;
  if (first === undefined) return;
  const { head, tail } = statementOf(table, Object.keys(first));
  await tx.execute(sql`${head}${JSON.stringify(rows)}${tail}`);
}

interface Statement {
  readonly head: SQL;
  readonly tail: SQL;
}

const statements = new WeakMap<PgTable, Map<string, Statement>>();

function statementOf(table: PgTable, members: readonly string[]): Statement {
  const known = statements.get(table) ?? new Map<string, Statement>();
  statements.set(table, known);
  const key = members.join();
  const statement = known.get(key) ?? writeStatement(table, members);
  known.set(key, statement);
  return statement;
}

function writeStatement(table: PgTable, members: readonly string[]): Statement {
  const columns: Record<string, PgColumn> = getTableColumns(table);
  const given = members.map((member) => ({ member: `"${member}"`, column: columns[member] as PgColumn }));
  const names = given.map(({ column }) => `"${column.name}"`).join(", ");
  const types = given.map(({ member, column }) => `${member} ${column.getSQLType()}`).join(", ");
  const values = given.map(({ member }) => member).join(", ");
  return {
    head: sql.raw(`insert into "${getTableName(table)}" (${names}) select ${values} from json_to_recordset(`),
    tail: sql.raw(`::json) as given(${types})`),
  };
}
