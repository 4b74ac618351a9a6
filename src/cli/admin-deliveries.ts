/** `admin deliveries`: what is on its way to peers, and what came to grief. */
import { type Command, Option } from "commander";
import type { JsonObject } from "../protocol/objects.ts";
import { openAdmin, originOption } from "./admin-session.ts";
import { parseOrigin } from "./arguments.ts";
import { addCommand, addGroup, type CliContext } from "./context.ts";
import { hostOf } from "./output.ts";

interface ListOptions {
  readonly origin?: string;
  readonly state?: string;
  readonly peer?: string;
}

export function addDeliveryCommands(admin: Command, context: CliContext): void {
  const { output } = context;
  const deliveries = addGroup(admin, "deliveries", "deliveries to peers");

  addCommand(deliveries, "list", "deliveries, newest first")
    .addOption(
      new Option("--state <state>", "only those in this state; held: for a suspended peer").choices([
        "queued",
        "held",
        "delivered",
        "dead",
        "discarded",
        "cancelled",
      ]),
    )
    .option("--peer <peer>", "only those to this peer's origin", parseOrigin)
    .option(...originOption)
    .action(async (options: ListOptions) => {
      const client = await openAdmin(context, options.origin);
      output.table(
        await client.list("/deliveries", { state: options.state, peer: options.peer }),
        [
          { title: "id", value: (row) => row.id, whole: true },
          { title: "peer", value: (row) => hostOf(row.peer) },
          { title: "type", value: (row) => row.type },
          { title: "state", value: (row) => row.state, whole: true },
          { title: "tries", value: (row) => row.attempts },
          { title: "next try", value: (row) => row.next_attempt_at, whole: true },
          { title: "last error", value: errorOf },
        ],
        "There are no deliveries.",
      );
    });

  addCommand(deliveries, "show", "one delivery, with its last error")
    .argument("<id>", "the delivery's id")
    .option(...originOption)
    .action(async (id: string, options: { origin?: string }) => {
      const client = await openAdmin(context, options.origin);
      const delivery = (await client.request("GET", `/deliveries/${encodeURIComponent(id)}`)) as JsonObject;
      output.record(delivery, fieldsOf(delivery));
    });

  addVerb("retry", "try a dead or waiting delivery now", dueOf);
  addVerb("discard", "give a dead or waiting delivery up", () => "is given up.");

  function addVerb(verb: "retry" | "discard", description: string, result: (delivery: JsonObject) => string): void {
    addCommand(deliveries, verb, description)
      .argument("<id>", "the delivery's id")
      .option(...originOption)
      .action(async (id: string, options: { origin?: string }) => {
        const client = await openAdmin(context, options.origin);
        const path = `/deliveries/${encodeURIComponent(id)}/${verb}`;
        const delivery = (await client.request("POST", path, { body: {} })) as JsonObject;
        output.done(delivery, `The delivery ${id} ${result(delivery)}`);
      });
  }
}

/** What a retry has led to. */
const dueOf = ({ state, peer }: JsonObject) =>
  state === "held"
    ? `is held with all others to ${peer}, which is suspended: \`concordat admin peers resume\` lets them go.`
    : "is due now.";

function fieldsOf(delivery: JsonObject): readonly (readonly [string, unknown])[] {
  const error = delivery.last_error as { readonly status: number | null; readonly at: string } | null;
  return [
    ["activity", delivery.activity],
    ["type", delivery.type],
    ["peer", delivery.peer],
    ["state", delivery.state],
    ["tries", delivery.attempts],
    ["next try", delivery.next_attempt_at],
    ["last error", error && `${errorOf(delivery)} (${error.status ?? "no answer"}) at ${error.at}`],
    ["delivered", delivery.delivered_at],
    ["receipt", delivery.receipt ? "held" : "none"],
  ];
}

function errorOf(delivery: JsonObject): string | null {
  const error = delivery.last_error as { readonly code: string } | null;
  return error?.code ?? null;
}
