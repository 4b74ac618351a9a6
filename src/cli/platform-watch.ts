/** `watch`: live events of all memberships. */
import type { Command } from "commander";
import { watchEverywhere } from "../sdk/events.ts";
import { selectMembership } from "../sdk/memberships.ts";
import { addInstanceCommand, type CliContext } from "./context.ts";
import { openClient } from "./platform-client.ts";
import { addWatchOptions, printEvents, type WatchArguments } from "./watch-events.ts";

export function addWatchCommand(program: Command, context: CliContext): void {
  addWatchOptions(addInstanceCommand(program, "watch", "live events of all memberships, until you end it")).action(
    async ({ instance, ...options }: WatchArguments & { readonly instance?: string }) => {
      const client = await openClient(context);
      // Each instance numbers its own events.
      if (options.after !== undefined) selectMembership(await client.vault.read(), instance);
      await printEvents(context.output, options, (watched) => watchEverywhere(client, { ...watched, instance }));
    },
  );
}
