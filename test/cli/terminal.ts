/** A terminal that keeps what was written, and surroundings for a command without the machine's own vault. */
import type { Surroundings } from "../../src/cli/main.ts";
import { runCli } from "../../src/cli/main.ts";

export interface Run {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs a command in this process. `answers` are what a person types, in order, also for secrets. */
export async function run(
  argv: readonly string[],
  given: Partial<Omit<Surroundings, "terminal">> & {
    readonly columns?: number;
    readonly answers?: readonly string[];
  } = {},
): Promise<Run> {
  const written = { out: "", err: "" };
  const answers = [...(given.answers ?? [])];
  const next = () => {
    const answer = answers.shift();
    if (answer === undefined) throw new Error("the command asks for more than the test answers");
    return Promise.resolve(answer);
  };
  const code = await runCli(argv, {
    terminal: {
      columns: given.columns,
      colours: false,
      out: (text) => {
        written.out += text;
      },
      err: (text) => {
        written.err += text;
      },
    },
    prompt: given.prompt ?? { secret: next, line: next },
    fetch: given.fetch ?? fetch,
    clock: given.clock ?? (() => new Date()),
    settings:
      given.settings ??
      (() => {
        throw new Error("this command has nothing to do with the vault");
      }),
  });
  return { code, ...written };
}
