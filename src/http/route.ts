/**
 * Routes of the REST API: one zod schema per shape, the right that a route needs declared at the route, and OpenAPI made
 * from both. A handler gets parsed input and a caller who may be here, and returns its answer as a value.
 */
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import type Router from "@koa/router";
import type { Context } from "koa";
import { z } from "zod";
import { Problem } from "../errors.ts";
import { type Commit, createCommit, type OutboxDependencies, type Terms } from "../outbox/commit.ts";
import { digestJson } from "../protocol/canonical-json.ts";
import { type JsonObject, judgeShape } from "../protocol/objects.ts";
import type { Permission, PlatformRight } from "../protocol/rights.ts";
import { parseStrictJson, parseStrictJsonText } from "../protocol/strict-json.ts";
import type { AdministratorCaller, PlatformCaller } from "../registry/caller.ts";
import type { Once } from "../registry/idempotency.ts";
import type { Tx } from "../storage/database.ts";
import { readBody, requireMediaType, restOctets } from "./body.ts";
import type { AddressReader } from "./client-address.ts";
import type { Witness } from "./refusals.ts";

/** Who may use a route: nobody in particular, or an administrator with a permission, or a platform with a right. */
export type Access =
  | "public"
  | { readonly administrator?: Permission | "any"; readonly platform?: PlatformRight | "any" };

/** The caller that an access declaration admits. */
export type CallerOf<A extends Access> = A extends "public"
  ? null
  :
      | (A extends { readonly administrator: string } ? AdministratorCaller : never)
      | (A extends { readonly platform: string } ? PlatformCaller : never);

export interface Input<A extends Access, P, Q, B> {
  readonly caller: CallerOf<A>;
  readonly params: P;
  readonly query: Q;
  readonly body: B;
  readonly address: string;
  /** Makes the change of this request, under its Idempotency-Key and its `If-Match`. */
  readonly commit: Commit;
  /** A header of the request; empty when it has none. */
  readonly header: (name: string) => string;
  /** Aborted when the connection has ended: whatever waits may stop. */
  readonly gone: AbortSignal;
}

export interface Answer {
  readonly status: number;
  readonly body?: unknown;
  readonly location?: string;
  /** Instead of a body: server-sent events, sent as they come. */
  readonly stream?: AsyncIterable<string>;
  /** Aborted when the stream ends; a client that does not take its end loses the connection. */
  readonly ending?: AbortSignal;
}

/** How long a client has to take the end of a stream, milliseconds. */
const endingMilliseconds = 1_000;

export interface Route<A extends Access = Access, P = unknown, Q = unknown, B = unknown> {
  readonly method: "get" | "post" | "put" | "patch" | "delete";
  /** Below `/api/v1`, with `:name` for parameters. */
  readonly path: string;
  readonly summary: string;
  readonly access: A;
  readonly params?: z.ZodType<P>;
  readonly query?: z.ZodType<Q>;
  readonly body?: z.ZodType<B>;
  /** Takes a form as well as JSON. */
  readonly form?: boolean;
  /** Status of success and the shape of its body. */
  readonly answer: {
    readonly status: number;
    readonly schema?: z.ZodType;
    /** Of one event, where the route may answer with a stream of them. */
    readonly stream?: z.ZodType;
  };
  /** The resource as it stands and stays until the transaction ends: `If-Match` is judged against it. */
  readonly current?: (tx: Tx, input: Pick<Input<A, P, Q, B>, "caller" | "params">, now: Date) => Promise<unknown>;
  /** Members of the resource that change by themselves: its ETag does not speak of them. */
  readonly moving?: readonly string[];
  readonly handle: (input: Input<A, P, Q, B>) => Promise<Answer>;
}

/** A route with its types inferred from its schemas. */
export function defineRoute<const A extends Access, P, Q, B>(route: Route<A, P, Q, B>): Route {
  return route as unknown as Route;
}

/** Members that every list takes (docs of the REST API, "Requests"). */
export const pageQuery = z.strictObject({
  limit: z.coerce.number().int().min(1).max(200).default(50),
  cursor: z.string().max(2000).optional(),
  sort: z.string().max(100).optional(),
});

export const idParams = z.strictObject({ id: z.string() });

export const listOf = (item: z.ZodType) => z.object({ items: z.array(item), next_cursor: z.string().nullable() });

export interface RouteDependencies extends OutboxDependencies {
  readonly authenticate: (authorization: string) => Promise<AdministratorCaller | PlatformCaller>;
  readonly readAddress: AddressReader;
  readonly witness: Witness;
}

/** Puts routes on a router. Order of judgement: token 401, right 403, media type and size, shape 400, then the handler. */
export function mountRoutes(router: Router, routes: readonly Route[], dependencies: RouteDependencies): void {
  for (const route of routes) {
    router[route.method](`/api/v1${route.path}`, (ctx: RouteContext) => {
      // Before anything is waited for: a connection may end during the judgement too.
      const gone = new AbortController();
      ctx.res.once("close", () => gone.abort());
      return dependencies.witness(ctx, async (known) => {
        let caller: AdministratorCaller | PlatformCaller | null = null;
        if (route.access !== "public") {
          caller = await dependencies.authenticate(ctx.get("authorization"));
          known(caller);
          admit(route.access, caller);
        }
        await runRoute(ctx, route, { caller, gone: gone.signal }, dependencies);
      });
    });
  }
}

type RouteContext = Context & { readonly params: Record<string, string> };

async function runRoute(
  ctx: RouteContext,
  route: Route,
  { caller, gone }: { readonly caller: AdministratorCaller | PlatformCaller | null; readonly gone: AbortSignal },
  dependencies: RouteDependencies,
): Promise<void> {
  const body = route.body ? readShape(route.body, await readRestBody(ctx, route.form ?? false)) : undefined;
  const request = {
    caller: caller as CallerOf<Access>,
    params: route.params ? readParams(route.params, ctx.params) : {},
    query: route.query ? readShape(route.query, { ...ctx.query }) : {},
    body,
    address: dependencies.readAddress(ctx.req),
    header: (name: string) => ctx.get(name),
    gone,
  };
  const commit = createCommit(dependencies, {
    once: caller === null ? undefined : readOnce(ctx, caller, body),
    precondition: readIfMatch(ctx, route, request),
  });
  answer(ctx, route, await route.handle({ ...request, commit }));
}

function admit(access: Exclude<Access, "public">, caller: AdministratorCaller | PlatformCaller): void {
  const needed: string | undefined = access[caller.kind];
  const held: ReadonlySet<string> = caller.kind === "administrator" ? caller.permissions : caller.rights;
  if (needed === undefined) {
    const wanted = caller.kind === "administrator" ? "a platform" : "an administrator";
    throw new Problem("right_missing", `Only ${wanted} may use this route.`);
  }
  if (needed !== "any" && !held.has(needed)) {
    throw new Problem("right_missing", `This route needs ${needed}.`, { right: needed });
  }
}

/** @throws {Problem} `invalid` for a key that is too long */
function readOnce(ctx: Context, caller: AdministratorCaller | PlatformCaller, body: unknown): Once | undefined {
  const key = ctx.get("idempotency-key");
  if (key === "" || ctx.method !== "POST") return undefined;
  if (key.length > 255) {
    const errors = [{ path: "Idempotency-Key", code: "too_big", message: "has at most 255 characters" }];
    throw new Problem("invalid", "The Idempotency-Key is too long.", { errors });
  }
  return { caller: `${caller.kind}:${caller.id}`, key, requestDigest: digestJson([ctx.path, body ?? null]) };
}

/** JSON, or a form where the route takes one; no body at all is an empty object. */
async function readRestBody(ctx: Context, takesForm: boolean): Promise<unknown> {
  const isEmpty = ctx.get("transfer-encoding") === "" && ["", "0"].includes(ctx.get("content-length"));
  if (isEmpty) return {};
  const type = requireMediaType(
    ctx,
    (name) => name === "application/json" || (takesForm && name === "application/x-www-form-urlencoded"),
  );
  const octets = await readBody(ctx, restOctets);
  if (type === "application/json") return parseStrictJson(octets);
  const form = Object.fromEntries(new URLSearchParams(new TextDecoder().decode(octets)));
  // The same rules as for JSON: no NUL in particular.
  return parseStrictJsonText(JSON.stringify(form));
}

/** @throws {Problem} `unknown_member`, `invalid` with `errors` */
function readShape<T>(schema: z.ZodType<T>, value: unknown): T {
  const judged = judgeShape(schema, value);
  if (judged.malformed.length > 0) {
    throw new Problem("invalid", "The request does not have the shape that this route takes.", {
      errors: judged.malformed,
    });
  }
  if (judged.unknown.length > 0) {
    const errors = judged.unknown.map(({ path }) => ({
      path,
      code: "unknown_member",
      message: "is not a member here",
    }));
    throw new Problem("unknown_member", `Not known here: ${judged.unknown.map(({ path }) => path).join(", ")}`, {
      errors,
    });
  }
  return schema.parse(value);
}

/** A parameter that cannot name anything names nothing. */
function readParams<T>(schema: z.ZodType<T>, params: Record<string, string>): T {
  const parsed = schema.safeParse({ ...params });
  const id = (params as JsonObject).id;
  if (!parsed.success || (id !== undefined && !z.uuid().safeParse(id).success)) throw new Problem("not_found");
  return parsed.data;
}

function entityTag({ moving = [] }: Route, resource: unknown): string {
  const members = Object.entries(resource as object).filter(([name]) => !moving.includes(name));
  const digest = createHash("sha256")
    .update(JSON.stringify(Object.fromEntries(members)))
    .digest("base64url");
  return `"${digest.slice(0, 27)}"`;
}

/** What `If-Match` asks of the resource that the request changes. */
function readIfMatch(
  ctx: Context,
  route: Route,
  request: Pick<Input<Access, unknown, unknown, unknown>, "caller" | "params">,
): Terms["precondition"] {
  const { current } = route;
  const wanted = ctx.get("if-match");
  if (wanted === "" || wanted === "*" || !current) return undefined;
  const tags = wanted.split(",").map((tag) => tag.trim());
  return async (tx, now) => {
    const tag = entityTag(route, await current(tx, request, now));
    if (!tags.includes(tag)) throw new Problem("precondition_failed");
  };
}

function answer(ctx: Context, route: Route, { status, body, location, stream, ending }: Answer): void {
  ctx.status = status;
  if (location !== undefined) ctx.set("Location", location);
  ctx.set("Cache-Control", "no-store");
  if (stream !== undefined) {
    // Proxies that know this header do not gather what is to arrive now.
    ctx.set("X-Accel-Buffering", "no");
    ctx.type = "text/event-stream";
    ctx.body = Readable.from(stream);
    const { res } = ctx;
    const cut = () => setTimeout(() => !res.writableFinished && res.destroy(), endingMilliseconds).unref();
    if (ending?.aborted) cut();
    else ending?.addEventListener("abort", cut);
    return;
  }
  if (body === undefined) return;
  const isSingle = route.path.endsWith("/:id") || route.current !== undefined;
  if (isSingle) ctx.set("ETag", entityTag(route, body));
  ctx.type = "application/json";
  ctx.body = JSON.stringify(body);
}
