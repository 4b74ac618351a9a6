/** Everything that the commands print goes through here: tables and lines for people, JSON for scripts. */
import { CommanderError } from "commander";
import { ConcordatError } from "../errors.ts";

/** Where the program writes; `columns` only on a terminal. */
export interface Terminal {
  readonly columns: number | undefined;
  readonly colours: boolean;
  out(text: string): void;
  err(text: string): void;
}

/** `process.stdout` and `process.stderr`; colours as the terminal and NO_COLOR say. */
export function processTerminal(): Terminal {
  const { stdout, stderr } = process;
  return {
    columns: stdout.isTTY ? stdout.columns : undefined,
    colours: stdout.isTTY && stdout.hasColors(),
    out: (text) => void stdout.write(text),
    err: (text) => void stderr.write(text),
  };
}

export interface Column<T> {
  readonly title: string;
  readonly value: (row: T) => unknown;
  /** Never shortened: an id, a time or a fingerprint that is cut is of no use. */
  readonly whole?: true;
  /** Left out on a terminal that has no room for all columns. */
  readonly spare?: true;
}

export interface Output {
  readonly json: boolean;
  /** A list: a table for people, or `empty` when it has no rows (nothing when that is ""); an array for scripts. */
  table<T>(rows: readonly T[], columns: readonly Column<T>[], empty: string): void;
  /** One thing: its fields for people, `value` for scripts. */
  record(value: unknown, fields: readonly (readonly [string, unknown])[]): void;
  /** Something was done: a sentence for people, `value` for scripts. */
  done(value: unknown, sentence: string): void;
  /** What people should know beside the result; on stderr, so that pipes stay clean. */
  note(sentence: string): void;
}

export function createOutput(terminal: Terminal, json: boolean): Output {
  const document = (value: unknown) => terminal.out(`${JSON.stringify(value)}\n`);
  return {
    json,
    table(rows, columns, empty) {
      if (json) document(rows);
      else if (rows.length === 0) terminal.err(empty === "" ? "" : `${empty}\n`);
      else terminal.out(formatTable(rows, columns, terminal));
    },
    record(value, fields) {
      if (json) document(value);
      else terminal.out(formatFields(fields));
    },
    done(value, sentence) {
      if (json) document(value);
      else terminal.out(`${printable(sentence)}\n`);
    },
    note(sentence) {
      if (!json) terminal.err(`${printable(sentence)}\n`);
    },
  };
}

/** Reports an error of `command` on stderr and gives the exit code: 1 refused or failed, 2 wrong usage. */
export function reportError(terminal: Terminal, json: boolean, error: unknown, command = "concordat"): number {
  const { exit, report } = describeError(error, command);
  if (json) terminal.err(`${JSON.stringify(report)}\n`);
  else terminal.err(formatError(report));
  return exit;
}

interface ErrorReport extends Record<string, unknown> {
  readonly code: string;
  readonly message: string;
}

function describeError(error: unknown, command: string): { readonly exit: 1 | 2; readonly report: ErrorReport } {
  if (error instanceof CommanderError) {
    // A group without a command: commander has shown its help, and has nothing to say.
    const said = error.code === "commander.help" ? "name one of its commands" : error.message.replace(/^error: /, "");
    return { exit: 2, report: { code: "usage", message: `${said}\n${command} --help tells more.` } };
  }
  if (error instanceof ConcordatError) {
    const { code, message } = error;
    const more: Record<string, unknown> = {};
    if ("status" in error && typeof error.status === "number" && error.status > 0) more.status = error.status;
    if ("origin" in error) more.origin = error.origin;
    if ("members" in error && typeof error.members === "object") Object.assign(more, error.members);
    if ("details" in error && typeof error.details === "object") Object.assign(more, error.details);
    return { exit: 1, report: { ...more, code, message } };
  }
  // Neither ours nor commander's: a defect, and its stack says where.
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { exit: 1, report: { code: "internal", message } };
}

function formatError(report: ErrorReport): string {
  const { code, message, errors, status: _status, origin, ...more } = report;
  const lines = [`error ${code}: ${code === "internal" ? message : printable(message)}`];
  if (typeof origin === "string" && !message.includes(origin)) lines.push(`  at ${origin}`);
  for (const fault of Array.isArray(errors) ? errors : []) {
    lines.push(`  ${printable([fault?.path, fault?.message ?? fault?.code].filter(Boolean).join(": "))}`);
  }
  for (const [name, value] of Object.entries(more)) {
    // Lists of objects are for scripts; the message says what people need of them.
    const isStructure = [value].flat().some((item) => typeof item === "object" && item !== null);
    if (!isStructure) lines.push(`  ${name.replaceAll("_", " ")}: ${printable(value)}`);
  }
  return `${lines.join("\n")}\n`;
}

/** Text that cannot steer a terminal: no control and no direction characters, whoever wrote it. */
export function printable(value: unknown): string {
  if (value === null || value === undefined) return "–";
  if (value === true) return "yes";
  if (value === false) return "no";
  if (Array.isArray(value)) return value.length === 0 ? "–" : value.map(printable).join(", ");
  const text = typeof value === "object" ? JSON.stringify(value) : String(value);
  return text.replace(/[\p{Cc}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, (character) =>
    character === "\n" ? "\n" : "\ufffd",
  );
}

/** Printable text without line breaks. */
export function oneLine(value: unknown): string {
  return printable(value).replace(/\s*\n\s*/g, " ");
}

/** An origin as people say it in a table: its host. */
export function hostOf(origin: unknown): string {
  const text = String(origin);
  return URL.canParse(text) ? new URL(text).host : text;
}

const shortest = 6;

function formatTable<T>(rows: readonly T[], columns: readonly Column<T>[], terminal: Terminal): string {
  const cells = rows.map((row) => columns.map((column) => oneLine(column.value(row))));
  const titles = columns.map((column) => column.title);
  if (terminal.columns === undefined) {
    return [titles, ...cells].map((line) => `${line.join("\t")}\n`).join("");
  }
  const widths = titles.map((title, at) => Math.max(title.length, ...cells.map((line) => line[at]?.length ?? 0)));
  const room = Math.min(terminal.columns, 120) - 2 * (columns.length - 1);
  const excessive = widths.reduce((sum, width) => sum + width, 0) - room;
  const core = columns.filter(({ spare }) => spare !== true);
  if (excessive > 0 && core.length < columns.length) return formatTable(rows, core, terminal);
  for (let excess = excessive; excess > 0; excess -= 1) {
    // A character at a time from the widest: so that long columns give way before short ones.
    const candidates = widths.map((width, at) => (columns[at]?.whole ? 0 : width));
    const widest = Math.max(...candidates);
    if (widest <= shortest) break;
    widths[candidates.lastIndexOf(widest)] = widest - 1;
  }
  const line = (texts: readonly string[]) =>
    texts
      .map((text, at) => fit(text, widths[at] ?? text.length))
      .join("  ")
      .trimEnd();
  const head = line(titles);
  return `${[terminal.colours ? `\u001b[1m${head}\u001b[0m` : head, ...cells.map(line)].join("\n")}\n`;
}

function fit(text: string, width: number): string {
  return text.length <= width ? text.padEnd(width) : `${text.slice(0, width - 1)}…`;
}

/** Text broken at spaces into lines of at most `width`, each but the first indented; a longer word stays whole. */
export function wrap(text: string, width: number, indent: number): string {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line].join(`\n${" ".repeat(indent)}`);
}

function formatFields(fields: readonly (readonly [string, unknown])[]): string {
  const width = Math.max(...fields.map(([name]) => name.length));
  return fields
    .map(([name, value]) => {
      const text = printable(value).split("\n");
      return `${name.padEnd(width)}  ${text.join(`\n${" ".repeat(width + 2)}`)}\n`;
    })
    .join("");
}
