/** People at terminals: each has a vault and logins of their own below one directory. */
import { join } from "node:path";
import * as assert from "uvu/assert";
import type { JsonObject } from "../../src/protocol/objects.ts";
import { type Run, run } from "../cli/terminal.ts";

export interface People {
  readonly settingsOf: (person: string, passphrase?: string) => () => PersonSettings;
  /** A command of `person`; asked for a secret, the answer is the administrator's password of `startNode`. */
  command(person: string, ...argv: readonly string[]): Promise<Run>;
  /** What a command prints with `--json`; it must succeed. */
  result(person: string, ...argv: readonly string[]): Promise<JsonObject>;
  rows(person: string, ...argv: readonly string[]): Promise<JsonObject[]>;
  /** The report of a command that must be refused. */
  refusal(person: string, ...argv: readonly string[]): Promise<JsonObject>;
}

interface PersonSettings {
  readonly vaultDir: string;
  readonly adminDir: string;
  readonly passphrase: string;
}

export function peopleIn(directory: string): People {
  const settingsOf: People["settingsOf"] =
    (person, passphrase = "a passphrase of the test") =>
    () => ({ vaultDir: join(directory, person), adminDir: join(directory, `${person}.logins`), passphrase });
  const command: People["command"] = (person, ...argv) =>
    run(argv, { settings: settingsOf(person), answers: ["not-a-secret-in-a-test"] });
  const result: People["result"] = async (person, ...argv) => {
    const { code, out, err } = await command(person, ...argv, "--json");
    if (code !== 0) throw new Error(`${argv.join(" ")} ended with ${code}: ${err}`);
    return JSON.parse(out);
  };
  return {
    settingsOf,
    command,
    result,
    rows: async (person, ...argv) => (await result(person, ...argv)) as unknown as JsonObject[],
    async refusal(person, ...argv) {
      const { code, out, err } = await command(person, ...argv, "--json");
      assert.is(code, 1, err);
      assert.is(out, "");
      return JSON.parse(err);
    },
  };
}
