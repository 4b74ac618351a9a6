/** The commands of `concordat`: argument parsing; what they do is in the SDK, or behind an instance's REST API. */
import { Command, CommanderError } from "commander";
import { type CliConfig, readCliConfig } from "../config.ts";
import { version } from "../version.ts";
import { addAdminCommands } from "./admin.ts";
import { type CliContext, jsonOption } from "./context.ts";
import { addNodeCommands } from "./node-commands.ts";
import { createOutput, processTerminal, reportError, type Terminal } from "./output.ts";
import { addPlatformCommands } from "./platform.ts";
import { type Prompt, terminalPrompt } from "./prompt.ts";

/** What a run of the program stands in; tests give their own. */
export interface Surroundings {
  readonly terminal: Terminal;
  readonly prompt: Prompt;
  readonly fetch: typeof fetch;
  readonly clock: () => Date;
  readonly settings: () => CliConfig;
}

const ownSurroundings = (): Surroundings => ({
  terminal: processTerminal(),
  prompt: terminalPrompt,
  fetch,
  clock: () => new Date(),
  settings: () => readCliConfig(),
});

/** Runs one command; gives the exit code: 0 ok, 1 refused or failed, 2 wrong usage. */
export async function runCli(argv: readonly string[], surroundings: Surroundings = ownSurroundings()): Promise<number> {
  const { terminal } = surroundings;
  // Known before parsing, since wrong usage is reported in the same form.
  const json = argv.includes("--json");
  const program = createProgram(surroundings, json);
  try {
    await program.parseAsync(argv, { from: "user" });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    // `concordat` alone: commander has shown the help, which says it all.
    if (argv.length === 0) return 2;
    return reportError(terminal, json, error, nameCommand(program, argv));
  }
}

/** The command that was meant, as far as there is one: `concordat projects show`. */
function nameCommand(program: Command, argv: readonly string[]): string {
  const [word, ...rest] = argv.filter((argument) => !argument.startsWith("-"));
  const found = program.commands.find((command) => command.name() === word);
  return found === undefined ? program.name() : `${program.name()} ${nameCommand(found, rest)}`;
}

function contextOf({ terminal, prompt, fetch, clock, settings }: Surroundings, json: boolean): CliContext {
  return {
    output: createOutput(terminal, json),
    prompt,
    fetch,
    clock,
    // Read when a command needs them: `serve` has nothing to do with the vault's settings.
    get vaultDir() {
      return settings().vaultDir;
    },
    get adminDir() {
      return settings().adminDir;
    },
    get passphrase() {
      return settings().passphrase;
    },
  };
}

/** All commands, not run yet. */
export function createProgram(surroundings: Surroundings, json = false): Command {
  const { terminal } = surroundings;
  const context = contextOf(surroundings, json);
  const program = new Command("concordat")
    .description("A peer-to-peer federated node for health data platforms, and its clients.")
    .version(version)
    .addOption(jsonOption())
    .exitOverride()
    // Also beside long names of arguments.
    .configureHelp({ minWidthToWrap: 20 })
    .configureOutput({
      writeOut: (text) => terminal.out(text),
      // The help that wrong usage shows. Errors themselves are reported in one place, `reportError`.
      writeErr: (text) => {
        if (!json) terminal.err(text);
      },
      outputError: () => undefined,
    });
  addNodeCommands(program, context);
  addAdminCommands(program, context);
  addPlatformCommands(program, context);
  return program;
}
