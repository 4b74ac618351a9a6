/** `admin watch`: live events of an instance for its administrators. */
import type { Command } from "commander";
import { watchEvents } from "../sdk/events.ts";
import { openAdmin, originOption } from "./admin-session.ts";
import { addCommand, type CliContext } from "./context.ts";
import { addWatchOptions, printEvents, type WatchArguments } from "./watch-events.ts";

export function addAdminWatch(admin: Command, context: CliContext): void {
  addWatchOptions(addCommand(admin, "watch", "live events for administrators, until you or the login ends"))
    .option(...originOption)
    .action(async ({ origin, ...options }: WatchArguments & { readonly origin?: string }) => {
      const client = await openAdmin(context, origin);
      await printEvents(context.output, options, (watched) => watchEvents(client, watched));
    });
}
