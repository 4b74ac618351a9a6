/** Refusals of requests leave a trace in the journal, counted by caller, address, code and minute. */
import type { Problem } from "../errors.ts";
import { countRefusal } from "../registry/journal.ts";
import type { HttpDependencies } from "./dependencies.ts";

export type JournalRefusal = (
  problem: Problem,
  by: { readonly actor: string | null; readonly address: string },
) => Promise<void>;

export function createRefusalJournal({ database, clock }: HttpDependencies): JournalRefusal {
  return (problem, { actor, address }) =>
    countRefusal(database.db, problem.code, address, { at: clock(), actor, action: "request.refused" });
}
