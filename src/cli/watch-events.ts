/** What `watch` and `admin watch` have in common: a line for each event, until there are enough or nobody reads. */
import type { Command } from "commander";
import type { InstanceEvent, WatchOptions, WatchState } from "../sdk/events.ts";
import { parseCount, parseEventId, parseWords } from "./arguments.ts";
import { hostOf, type Output, oneLine } from "./output.ts";

export interface WatchArguments extends Pick<WatchOptions, "after" | "types"> {
  readonly count?: number;
}

export function addWatchOptions(command: Command): Command {
  return command
    .option(
      "--after <id>",
      "begin after this event, 0 for the first one; with what comes from now on when absent",
      parseEventId,
    )
    .option("--types <types>", "only these, such as project.shared,delivery for all of delivery", parseWords)
    .option("--count <n>", "end after so many events", parseCount);
}

/** Prints what `watch` gives. */
export async function printEvents(
  output: Output,
  { after, types, count = Number.POSITIVE_INFINITY }: WatchArguments,
  watch: (options: WatchOptions) => AsyncGenerator<InstanceEvent & { readonly instance?: string }>,
): Promise<void> {
  const ending = new AbortController();
  const end = () => ending.abort();
  // `concordat watch | head`: who stopped reading wants no more.
  process.stdout.once("error", end);
  let printed = 0;
  try {
    for await (const event of watch({ after, types, signal: ending.signal, onState: (state) => tell(output, state) })) {
      output.done(event, oneLine(describe(event)));
      printed += 1;
      if (printed >= count) break;
    }
  } finally {
    process.stdout.off("error", end);
  }
}

function tell(output: Output, state: WatchState): void {
  if (state.state === "watching") output.note(`Watching ${state.instance} after event ${state.after}.`);
  else output.note(`Waiting for ${state.instance}: ${state.message}`);
}

function describe(event: InstanceEvent & { readonly instance?: string }): string {
  const { instance, id, type, at, object, revision, actor, data } = event;
  const more = [
    ...(instance === undefined ? [] : [`at ${hostOf(instance)}`]),
    ...(revision === undefined ? [] : [`revision ${revision}`]),
    ...(actor === undefined ? [] : [`by ${actor}`]),
    ...Object.entries(data ?? {}).flatMap(([name, value]) => {
      // Structures are for scripts.
      const isPlain = value !== null && typeof value !== "object";
      return isPlain ? [`${name.replaceAll("_", " ")} ${value}`] : [];
    }),
  ];
  return [at, `#${id}`, type, object ?? "", more.join(", ")].filter((part) => part !== "").join("  ");
}
