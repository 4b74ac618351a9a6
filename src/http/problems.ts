/** The one error sink: refusals become problem documents (RFC 9457); anything else is logged, and shown as `internal`. */
import type { Context, Next } from "koa";
import { Problem } from "../errors.ts";
import { acceptSignatureHeader } from "../signatures/accept-signature.ts";
import { isUnavailable } from "../storage/database.ts";
import type { Log } from "../telemetry/log.ts";

export function createErrorSink(log: Log) {
  return async (ctx: Context, next: Next): Promise<void> => {
    try {
      await next();
    } catch (error) {
      const problem = problemOf(error);
      if (problem !== error) logFailure(log, error, problem);
      answerProblem(ctx, problem);
    }
    // A body that was not read to its end would go on, or be taken for the next request on this connection.
    if (!ctx.req.complete) ctx.set("Connection", "close");
  };
}

/** What the caller is told of an error. */
export function problemOf(error: unknown): Problem {
  if (error instanceof Problem) return error;
  return isUnavailable(error) ? new Problem("unavailable", undefined, { retry_after: 5 }) : new Problem("internal");
}

/** What is no refusal is nobody's business but the operator's. */
export function logFailure(log: Log, error: unknown, { code }: Problem): void {
  if (code === "unavailable") log.warn({ err: error }, "the database cannot be reached or written to");
  else log.error({ err: error }, "a request failed");
}

function answerProblem(ctx: Context, problem: Problem): void {
  ctx.status = problem.status;
  ctx.type = "application/problem+json";
  const { retry_after: retryAfter, ...members } = problem.toJSON();
  if (typeof retryAfter === "number") ctx.set("Retry-After", String(retryAfter));
  if (Array.isArray(members.allow)) ctx.set("Allow", members.allow.join(", "));
  if (problem.status === 401) askForAuthentication(ctx);
  ctx.body = JSON.stringify(members);
}

/** People bring a token, nodes a signature: each is told in its own way. */
function askForAuthentication(ctx: Context): void {
  if (ctx.path.startsWith("/api/")) ctx.set("WWW-Authenticate", 'Bearer realm="concordat"');
  else ctx.set("Accept-Signature", acceptSignatureHeader({ digest: ctx.method === "POST" }));
}
