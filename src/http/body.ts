/** Request bodies: their media type, their size and the time that they may take. */
import type { IncomingMessage } from "node:http";
import { parse } from "content-type";
import type { Context, Next } from "koa";
import getRawBody from "raw-body";
import { Problem } from "../errors.ts";
import { limits } from "../protocol/limits.ts";

/** Octets of a body of the REST API: an object of a megabyte, and what stands around it. */
export const restOctets = limits.peerActivityOctets + 64 * 1024;

/**
 * Refuses what is not one of `types`, encoded bodies and charsets other than UTF-8.
 * @throws {Problem} `unsupported_media`
 */
export function requireMediaType(
  ctx: Context,
  accepts: (type: string, parameters: MediaParameters) => boolean,
): string {
  if ((ctx.get("content-encoding") || "identity").toLowerCase() !== "identity") {
    throw new Problem("unsupported_media", "Encoded bodies are not accepted.");
  }
  const { type, parameters } = parseMediaType(ctx.get("content-type"));
  const charset = parameters.charset?.toLowerCase() ?? "utf-8";
  if (!accepts(type, parameters) || charset !== "utf-8") throw new Problem("unsupported_media");
  return type;
}

export type MediaParameters = Readonly<Record<string, string | undefined>>;

function parseMediaType(header: string): { readonly type: string; readonly parameters: MediaParameters } {
  try {
    return parse(header);
  } catch {
    throw new Problem("unsupported_media", "The request needs a Content-Type.");
  }
}

const profile = "https://www.w3.org/ns/activitystreams";

/** `application/activity+json`, `application/ld+json` with the ActivityStreams profile, and plain `application/json`. */
export function isActivityType(type: string, parameters: MediaParameters): boolean {
  if (type === "application/ld+json") return (parameters.profile ?? "").split(" ").includes(profile);
  return type === "application/activity+json" || type === "application/json";
}

let held = 0;
const heldOf = new WeakMap<IncomingMessage, number>();

/** What the bodies of all requests take that this process has not answered yet, octets. */
export const heldOctets = (): number => held;

function hold(request: IncomingMessage, octets: number): void {
  held += octets;
  heldOf.set(request, (heldOf.get(request) ?? 0) + octets);
}

/** Outermost: a body takes memory for as long as its request is worked on, also when whoever sent it has gone. */
export async function releaseBody(ctx: Context, next: Next): Promise<void> {
  try {
    await next();
  } finally {
    held -= heldOf.get(ctx.req) ?? 0;
    heldOf.delete(ctx.req);
  }
}

/**
 * Reads the body, at most `octets` of it, within 30 seconds.
 * @throws {Problem} `too_large`, `timeout`, `malformed_http` when the sender went away, `unavailable` when bodies
 *   take too much memory
 */
export async function readBody(ctx: Context, octets: number): Promise<Uint8Array> {
  const length = ctx.get("content-length");
  if (length !== "" && Number(length) > octets)
    throw new Problem("too_large", `At most ${octets} octets are accepted here.`);
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, refuse) => {
    timer = setTimeout(() => refuse(new Problem("timeout")), limits.bodyMilliseconds);
  });
  const full = new Promise<never>((_, refuse) => {
    ctx.req.on("data", (chunk: Buffer) => {
      hold(ctx.req, chunk.length);
      if (held > limits.heldOctets) refuse(overloaded());
    });
  });
  try {
    return await Promise.race([getRawBody(ctx.req, { limit: octets }), late, full]);
  } catch (error) {
    if (error instanceof Problem) throw error;
    const type = (error as { readonly type?: string }).type;
    if (type === "entity.too.large") throw new Problem("too_large", `At most ${octets} octets are accepted here.`);
    throw new Problem("malformed_http", "The body did not arrive whole.");
  } finally {
    clearTimeout(timer);
    ctx.req.removeAllListeners("data");
  }
}

const overloaded = () =>
  new Problem("unavailable", "Too much is waiting to be answered; try again in a moment.", { retry_after: 5 });
