/** The node's log: JSON lines on stdout, pretty on a terminal. Sealed content never reaches it. */
import pino from "pino";
import pretty from "pino-pretty";

export type Log = pino.Logger;

export const logLevels = ["fatal", "error", "warn", "info", "debug", "trace", "silent"] as const;
export type LogLevel = (typeof logLevels)[number];

/** Members whose value is secret or sealed, wherever they occur. */
const secrets = [
  ...["authorization", "cookie", "password", "adminPassword", "passphrase", "secret", "access_token", "token"],
  ...["key", "nodeKeys", "privateKey", "privateJwk", "databaseUrl", "hf:sealed", "ciphertext"],
];

/** How deep in a line secret members are looked for; nothing that is logged goes deeper. */
const depths = ["", "*", "*.*"];

/** @param stream where lines go; stdout when absent, in a readable form if that is a terminal */
export function createLog({
  level,
  stream,
}: {
  readonly level: LogLevel;
  readonly stream?: NodeJS.WritableStream;
}): Log {
  const target =
    stream ?? (process.stdout.isTTY ? pretty({ sync: true, ignore: "pid,hostname" }) : pino.destination(1));
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: { paths: secrets.flatMap((name) => depths.map((depth) => `${depth}["${name}"]`)), censor: "[secret]" },
      serializers: { err: describeError },
    },
    target,
  );
}

/**
 * What a line tells of an error, and no other member of it: those of a failed query hold its values and the row
 * (drizzle's `params`, PostgreSQL's `detail`), sealed parts and hashes of secrets among them.
 */
function describeError(thrown: unknown): unknown {
  return describe(thrown, 0);
}

/** Causes beyond this many are left out: an error may be its own cause. */
const deepestCause = 5;

function describe(thrown: unknown, depth: number): unknown {
  if (!(thrown instanceof Error)) return typeof thrown === "object" ? "[no error]" : thrown;
  const { code } = thrown as NodeJS.ErrnoException;
  const message = withoutValues(thrown.message);
  return {
    type: thrown.name === "Error" ? thrown.constructor.name : thrown.name,
    ...(code === undefined ? {} : { code }),
    message,
    stack: thrown.stack?.replace(thrown.message, () => message),
    ...(thrown.cause === undefined || depth === deepestCause ? {} : { cause: describe(thrown.cause, depth + 1) }),
  };
}

/** drizzle's message is the statement, then a line with every value. */
function withoutValues(message: string): string {
  const at = message.startsWith("Failed query: ") ? message.indexOf("\nparams: ") : -1;
  return at < 0 ? message : message.slice(0, at);
}
