/** Refusals of requests leave a trace in the journal, counted by caller, address, code and minute. */
import type { Context } from "koa";
import { isRefusal } from "../errors.ts";
import { type Caller, nameCaller } from "../registry/caller.ts";
import { countRefusal } from "../registry/journal.ts";
import type { HttpDependencies } from "./dependencies.ts";

/** Runs what may be refused; once `known` has said who the caller is, a refusal is counted in that name. */
export type Witness = (ctx: Context, run: (known: (caller: Caller) => void) => Promise<void>) => Promise<void>;

export function createWitness({
  database,
  clock,
  readAddress,
}: Pick<HttpDependencies, "database" | "clock" | "readAddress">): Witness {
  return async (ctx, run) => {
    let actor: string | null = null;
    try {
      await run((caller) => {
        actor = nameCaller(caller);
      });
    } catch (error) {
      if (isRefusal(error)) {
        const entry = { at: clock(), actor, action: "request.refused" };
        await countRefusal(database.db, error.code, readAddress(ctx.req), entry);
      }
      throw error;
    }
  };
}
