/** Statements that are asked for all the time: drizzle writes them once for each handle, and PostgreSQL plans them once. */
import type { Tx } from "./database.ts";

/** Gives what `prepare` makes of a handle, the same for as long as that lives. */
export function preparedOnce<Statement>(prepare: (tx: Tx) => Statement): (tx: Tx) => Statement {
  const statements = new WeakMap<Tx, Statement>();
  return (tx) => {
    const statement = statements.get(tx) ?? prepare(tx);
    statements.set(tx, statement);
    return statement;
  };
}
