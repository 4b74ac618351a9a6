/** Secrets: from a file, or asked for on the terminal without showing them; never an argument. */
import { readFile } from "node:fs/promises";
import { createInterface, type Interface } from "node:readline/promises";
import { Writable } from "node:stream";
import { ConcordatError } from "../errors.ts";

/** What a command cannot do for a reason on this side of the wire. */
export class CliError extends ConcordatError {
  /** Members of the JSON form of the error. */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: string, message: string, details: Readonly<Record<string, unknown>> = {}, options?: ErrorOptions) {
    super(code, message, options);
    this.details = details;
  }
}

export interface Prompt {
  /** Asks for a secret; `instead` says how to give it where there is no terminal. */
  secret(question: string, instead: string): Promise<string>;
  /** Asks a question whose answer is shown; null where there is no terminal. */
  line(question: string): Promise<string | null>;
}

export const terminalPrompt: Prompt = {
  async secret(question, instead) {
    if (!process.stdin.isTTY) {
      throw new CliError("no_terminal", `There is no terminal to ask for it (${question.toLowerCase()}): ${instead}.`);
    }
    process.stderr.write(`${question}: `);
    const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
    try {
      return await ask(createInterface({ input: process.stdin, output: nowhere, terminal: true }), "");
    } finally {
      process.stderr.write("\n");
    }
  },
  async line(question) {
    if (!process.stdin.isTTY) return null;
    return (await ask(createInterface({ input: process.stdin, output: process.stderr }), `${question} `)).trim();
  },
};

/** One line; Ctrl-C and Ctrl-D end the command instead of leaving it waiting. */
async function ask(lines: Interface, question: string): Promise<string> {
  const ended = new AbortController();
  lines.once("SIGINT", () => ended.abort());
  lines.once("close", () => ended.abort());
  try {
    return await lines.question(question, { signal: ended.signal });
  } catch (cause) {
    throw new CliError("cancelled", "Nothing was entered; nothing was done.", {}, { cause });
  } finally {
    lines.close();
  }
}

/** Asks before something that cannot be undone. @throws {CliError} `not_confirmed` */
export async function confirm(prompt: Prompt, question: string, yes: boolean | undefined): Promise<void> {
  if (yes === true) return;
  const answer = await prompt.line(`${question} [y/N]`);
  if (answer !== null && /^y(es)?$/i.test(answer)) return;
  throw new CliError("not_confirmed", "Nothing was done. Where nobody can be asked, --yes says so.");
}

/** A secret from a file (its final line break does not count) or else from the terminal. */
export async function readSecret(
  prompt: Prompt,
  { file, option, question }: { readonly file: string | undefined; readonly option: string; readonly question: string },
): Promise<string> {
  const secret = file === undefined ? await prompt.secret(question, `use ${option} FILE`) : await readText(file);
  const text = secret.replace(/\r?\n$/, "");
  if (text === "") throw new CliError("empty_secret", `${question}: nothing was given.`);
  return text;
}

/** @throws {CliError} `unreadable_file` */
export async function readText(file: string): Promise<string> {
  return await readFile(file, "utf8").catch((cause: NodeJS.ErrnoException) => {
    const why = reasons[cause.code ?? ""] ?? `cannot be read (${cause.code ?? cause.message})`;
    throw new CliError("unreadable_file", `${file} ${why}.`, { file }, { cause });
  });
}

const reasons: Readonly<Record<string, string>> = {
  ENOENT: "does not exist",
  EISDIR: "is a directory, not a file",
  EACCES: "cannot be read: it belongs to somebody else, or its mode forbids it",
};
