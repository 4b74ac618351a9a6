/** `admin audit`: who did what and when, and that the record was not rewritten. */
import type { Command } from "commander";
import { isJsonObject, type JsonObject } from "../protocol/objects.ts";
import type { RestClient } from "../sdk/rest.ts";
import { openAdmin, originOption } from "./admin-session.ts";
import { parseCount } from "./arguments.ts";
import { addCommand, addGroup, type CliContext } from "./context.ts";
import { CliError } from "./prompt.ts";

interface AuditOptions {
  readonly origin?: string;
  readonly limit: number;
}

export function addAuditCommands(admin: Command, context: CliContext): void {
  const { output } = context;
  const audit = addGroup(admin, "audit", "the record of effects and refusals");

  addCommand(audit, "list", "entries, newest first")
    .option("--limit <number>", "how many", parseCount, 50)
    .option(...originOption)
    .action(async (options: AuditOptions) => {
      const client = await openAdmin(context, options.origin);
      output.table(
        await newestEntries(client, options.limit),
        [
          { title: "seq", value: (row) => row.seq },
          { title: "at", value: (row) => String(row.at).slice(0, 19), whole: true },
          { title: "action", value: (row) => row.action },
          { title: "outcome", value: (row) => row.code ?? row.outcome },
          { title: "actor", value: (row) => row.actor },
          { title: "object", value: (row) => row.object },
        ],
        "The audit is empty.",
      );
    });

  addCommand(audit, "verify", "recompute the chain of the whole record; exit 1 when it was rewritten")
    .option(...originOption)
    .action(async (options: { origin?: string }) => {
      const client = await openAdmin(context, options.origin);
      const verdict = await client.request("GET", "/audit/verification");
      if (!isJsonObject(verdict) || verdict.verified !== true) {
        const { seq, reason } = isJsonObject(verdict) ? verdict : {};
        throw new CliError("audit_broken", `The record was rewritten at entry ${seq} (${reason}).`, { seq, reason });
      }
      const { entries, erased, head } = verdict;
      const gone = Number(erased) > 0 ? `, ${erased} of them erased, of which only the place is proved` : "";
      output.done(verdict, `${entries} entries, unbroken${gone}; the newest has hash ${head}.`);
    });
}

async function newestEntries(client: RestClient, limit: number): Promise<readonly JsonObject[]> {
  const entries: JsonObject[] = [];
  let cursor: string | undefined;
  do {
    const query = { limit: Math.min(200, limit - entries.length), cursor };
    const page = (await client.request("GET", "/audit", { query })) as JsonObject;
    entries.push(...((page.items ?? []) as readonly JsonObject[]));
    cursor = typeof page.next_cursor === "string" ? page.next_cursor : undefined;
  } while (cursor !== undefined && entries.length < limit);
  return entries;
}
