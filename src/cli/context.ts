/** What every command is given. */
import { type Command, Option } from "commander";
import type { Output } from "./output.ts";
import type { Prompt } from "./prompt.ts";

export interface CliContext {
  /** Directory of the vault. */
  readonly vaultDir: string;
  /** Directory of the administrator's logins. */
  readonly adminDir: string;
  /** Of the vault, from the settings; asked for when absent. */
  readonly passphrase: string | undefined;
  readonly output: Output;
  readonly prompt: Prompt;
  readonly fetch: typeof fetch;
  readonly clock: () => Date;
}

/** Accepted before a command as well as after it; that it was given is read from `CliContext.output`. */
export const jsonOption = () => new Option("--json", "print JSON for scripts, errors too");

/** A group of commands; without one of them it shows its help and is wrong usage. */
export function addGroup(parent: Command, name: string, description: string): Command {
  return parent.command(name).description(description).addOption(jsonOption());
}

/** A command that does something; every one has `--json`. */
export function addCommand(parent: Command, nameAndArguments: string, description: string): Command {
  return parent.command(nameAndArguments).description(description).addOption(jsonOption());
}

/** A command that acts on one membership, or on all of them. */
export function addInstanceCommand(parent: Command, name: string, description: string): Command {
  return addCommand(parent, name, description).option(
    "--instance <instance>",
    "origin or host of the instance, where several memberships fit",
  );
}
