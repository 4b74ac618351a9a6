/** The commands of a platform's people: over the SDK and their vault. */
import type { Command } from "commander";
import type { CliContext } from "./context.ts";
import { addJoinCommands } from "./platform-join.ts";
import { addKeysCommands } from "./platform-keys.ts";
import { addProjectCommands } from "./platform-projects.ts";
import { addReceiptCommands } from "./platform-receipts.ts";
import { addWatchCommand } from "./platform-watch.ts";

export function addPlatformCommands(program: Command, context: CliContext): void {
  addJoinCommands(program, context);
  addKeysCommands(program, context);
  addProjectCommands(program, context);
  addReceiptCommands(program, context);
  addWatchCommand(program, context);
}
