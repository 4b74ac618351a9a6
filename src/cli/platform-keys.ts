/** `keys`: own keys, and whether others' are the ones that they say they have. */
import type { Command } from "commander";
import { describeOwnKeys } from "../sdk/own-keys.ts";
import { confirmFingerprint, findRecipient, learnKeys } from "../sdk/trust.ts";
import { type PlatformAddress, parseAddress, parseFingerprint } from "./arguments.ts";
import { addCommand, addGroup, addInstanceCommand, type CliContext } from "./context.ts";
import { openClient } from "./platform-client.ts";
import { CliError } from "./prompt.ts";

interface VerifyOptions {
  readonly instance?: string;
  readonly fingerprint?: string;
}

export function addKeysCommands(program: Command, context: CliContext): void {
  const { output } = context;
  const keys = addGroup(program, "keys", "identity and encryption keys, fingerprints");

  addCommand(keys, "show", "own keys, and the platforms whose keys are known").action(async () => {
    const shown = describeOwnKeys(await (await openClient(context)).vault.read());
    output.record(shown, [
      ["fingerprint", shown.fingerprint],
      ["identity", shown.identity],
      ["encryption key", shown.encryption],
      ["retired keys", shown.retired_encryption.length],
      ["key bundle", `number ${shown.seq}, until ${shown.expires_at}`],
    ]);
    if (output.json || shown.known.length === 0) return;
    output.note("");
    output.table(
      shown.known,
      [
        { title: "platform", value: (row) => row.actor },
        { title: "fingerprint", value: (row) => row.fingerprint, whole: true },
        { title: "status", value: (row) => row.status },
      ],
      "",
    );
  });

  addInstanceCommand(keys, "verify", "compare a platform's fingerprint, by phone say, and record that it is right")
    .argument("<platform>", "its address, such as hcl@lyon.example", parseAddress)
    .option("--fingerprint <fingerprint>", "what its people read out; otherwise you are asked", parseFingerprint)
    .action(async (address: PlatformAddress, options: VerifyOptions) => {
      const client = await openClient(context);
      const { membership, recipient } = await findRecipient(client, address, options.instance);
      const known = await learnKeys(client, membership, recipient);
      output.note(`${recipient.name} has the fingerprint ${known.fingerprint}`);
      const said = options.fingerprint ?? (await askFingerprint(context));
      const verified = await confirmFingerprint(client, recipient.uri, said);
      output.done(verified, `${address.handle}@${address.host} is verified.`);
    });
}

async function askFingerprint(context: CliContext): Promise<string> {
  const said = await context.prompt.line("Type the fingerprint that its people read out:");
  if (said) return parseFingerprint(said);
  throw new CliError("no_terminal", "Nothing was compared: use --fingerprint, or a terminal.");
}
