/** A terminal that keeps what was written, and surroundings for a command without the machine's own vault. */
import type { Surroundings } from "../../src/cli/main.ts";
import { runCli } from "../../src/cli/main.ts";

export interface Run {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

type Given = Partial<Omit<Surroundings, "terminal">> & {
  readonly columns?: number;
  /** What a person types, in order, also for secrets. */
  readonly answers?: readonly string[];
};

/** Runs a command in this process. */
export async function run(argv: readonly string[], given: Given = {}): Promise<Run> {
  const written = { out: "", err: "" };
  const code = await runCli(argv, surroundingsOf(given, written));
  return { code, ...written };
}

/** Surroundings whose terminal writes into `written`. */
export function surroundingsOf(given: Given, written: { out: string; err: string }): Surroundings {
  const answers = [...(given.answers ?? [])];
  const next = () => {
    const answer = answers.shift();
    if (answer === undefined) throw new Error("the command asks for more than the test answers");
    return Promise.resolve(answer);
  };
  return {
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
  };
}
