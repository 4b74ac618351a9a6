/** The node's log: JSON lines on stdout, pretty on a terminal. Sealed content never reaches it. */
import pino from "pino";
import pretty from "pino-pretty";

export type Log = pino.Logger;

export const logLevels = ["fatal", "error", "warn", "info", "debug", "trace", "silent"] as const;
export type LogLevel = (typeof logLevels)[number];

/** Members whose value is a secret wherever they occur. */
const secrets = ["authorization", "password", "key", "access_token", "secret", "passphrase"];

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
      redact: { paths: secrets.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]), censor: "[secret]" },
    },
    target,
  );
}
