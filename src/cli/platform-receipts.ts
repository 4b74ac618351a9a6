/** `receipts list`: proof of what other instances accepted. */
import { type Command, Option } from "commander";
import { listReceipts } from "../sdk/receipts.ts";
import { addGroup, addInstanceCommand, type CliContext } from "./context.ts";
import { hostOf } from "./output.ts";
import { openClient, reportMissing } from "./platform-client.ts";

export function addReceiptCommands(program: Command, context: CliContext): void {
  const { output } = context;
  const receipts = addGroup(program, "receipts", "receipts that nodes signed");

  addInstanceCommand(receipts, "list", "receipts of all memberships")
    .addOption(
      new Option("--direction <direction>", "in: for what you sent; out: for what came to you")
        .choices(["in", "out"])
        .default("in"),
    )
    .action(async (options: { instance?: string; direction: "in" | "out" }) => {
      const { items, unreachable } = await listReceipts(await openClient(context), options);
      output.table(
        items,
        [
          { title: "received", value: (row) => String(row.received_at).slice(0, 19), whole: true },
          { title: "peer", value: (row) => hostOf(row.peer), whole: true },
          { title: "about", value: (row) => row.code ?? row.object },
          { title: "effect", value: (row) => row.effect },
          { title: "instance", value: ({ instance }) => hostOf(instance) },
          { title: "activity", value: (row) => row.activity, spare: true },
        ],
        unreachable.length > 0 ? "" : "There are no receipts yet.",
      );
      reportMissing(unreachable);
    });
}
