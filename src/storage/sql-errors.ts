/** What the errors of both drivers mean. */

/** SQLSTATE of a failed statement (`23505`), wherever drizzle or the driver put it; undefined for other errors. */
export function sqlState(error: unknown): string | undefined {
  for (const { code } of causes(error)) if (typeof code === "string" && /^[0-9A-Z]{5}$/.test(code)) return code;
  return undefined;
}

/** Did the statement break a unique constraint (that one, when `constraint` is given)? */
export function isUniqueViolation(error: unknown, constraint?: string): boolean {
  if (sqlState(error) !== "23505") return false;
  return constraint === undefined || [...causes(error)].some((cause) => cause.constraint === constraint);
}

/** Did the statement lose against another transaction, or wait too long for it? Tried again it may go through. */
export function isLostRace(error: unknown): boolean {
  return ["40001", "40P01", "55P03"].includes(sqlState(error) ?? "");
}

/** SQLSTATEs that pass: connection lost, out of resources, out of time, shutting down, storage failing, read-only, lost races. */
const passingStates = /^(08...|53...|57014|57P0.|58...|25006|25P03|40001|40P01|55P03)$/;
const passingCodes = new Set([
  ...["disk_full", "ENOSPC", "EDQUOT", "EROFS", "EIO", "EMFILE"],
  ...["ECONNREFUSED", "ECONNRESET", "ECONNABORTED", "EPIPE", "ETIMEDOUT"],
  ...["EHOSTUNREACH", "ENETUNREACH", "ENOTFOUND", "EAI_AGAIN"],
]);
/** What `pg`, its pool and PGlite say without a code. */
const passingMessages =
  /^(Connection terminated|timeout expired|timeout exceeded when trying to connect|Client has encountered a connection error|Client was closed|Cannot use a pool after calling end|PGlite is (closed|closing)|Query read timeout)/;

/** Does the store only fail for now (lost, full, read-only, shutting down)? Then the answer is 503 and not 500. */
export function isUnavailable(error: unknown): boolean {
  for (const { name, code, message } of causes(error)) {
    // What stops the WebAssembly of PGlite stops it for good, as a PANIC of its write-ahead log does: only a restart helps.
    if (name === "ExitStatus" || name === "RuntimeError") return true;
    if (typeof code === "string") {
      if (passingStates.test(code) || passingCodes.has(code) || code.startsWith("LEVEL_")) return true;
    }
    if (typeof message === "string" && passingMessages.test(message)) return true;
  }
  return false;
}

type Cause = Partial<Record<"name" | "code" | "message" | "constraint", unknown>>;

/** The error and what it is caused by; the members of an AggregateError (several addresses of one host) too. */
function* causes(error: unknown, depth = 0): Generator<Cause> {
  if (typeof error !== "object" || error === null || depth > 8) return;
  yield error as Cause;
  if (error instanceof AggregateError) for (const member of error.errors) yield* causes(member, depth + 1);
  yield* causes((error as { cause?: unknown }).cause, depth + 1);
}
