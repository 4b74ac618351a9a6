/** The HTTP side of a node: middleware in order, then the routes. */
import { createServer, type Server } from "node:http";
import Router from "@koa/router";
import { sql } from "drizzle-orm";
import Koa, { type Context, type Next } from "koa";
import { Problem } from "../errors.ts";
import { limits } from "../protocol/limits.ts";
import { authenticate } from "./auth.ts";
import { releaseBody } from "./body.ts";
import type { HttpDependencies } from "./dependencies.ts";
import { createOpenApi } from "./openapi.ts";
import { createErrorSink } from "./problems.ts";
import { createWitness } from "./refusals.ts";
import { mountRoutes, type Route } from "./route.ts";
import { accessKeyRoutes } from "./routes/access-keys.ts";
import { mountClientToServer } from "./routes/client-to-server.ts";
import { deliveryRoutes } from "./routes/deliveries.ts";
import { mountDocuments } from "./routes/documents.ts";
import { eventRoutes } from "./routes/events.ts";
import { mountFederation } from "./routes/federation.ts";
import { peerRoutes } from "./routes/peers.ts";
import { platformRoutes } from "./routes/platforms.ts";
import { projectRoutes } from "./routes/projects.ts";
import { registryRoutes } from "./routes/registry.ts";
import { sessionRoutes } from "./routes/session.ts";

/** A path with a fixed last part stands before the one with a parameter there: the first that fits answers. */
function listRoutes(dependencies: HttpDependencies): readonly Route[] {
  return [
    ...sessionRoutes(dependencies),
    ...accessKeyRoutes(dependencies),
    ...platformRoutes(dependencies),
    ...registryRoutes(dependencies),
    ...projectRoutes(dependencies),
    ...peerRoutes(dependencies),
    ...deliveryRoutes(dependencies),
    ...eventRoutes(dependencies),
  ];
}

export function createApp(dependencies: HttpDependencies): Koa {
  const { origin, version } = dependencies;
  const routes = listRoutes(dependencies);
  // A router of its own: whatever stands before a route is tried for each activity.
  const inboxes = new Router({ sensitive: true });
  mountFederation(inboxes, dependencies);
  const router = new Router({ sensitive: true });
  mountDocuments(router, dependencies);
  mountClientToServer(router, dependencies);
  mountHealth(router, dependencies);
  mountRoutes(router, routes, {
    ...dependencies,
    authenticate: (authorization) => authenticate(dependencies, authorization),
    witness: createWitness(dependencies),
  });
  const openApi = JSON.stringify(createOpenApi(routes, { origin, version }));
  router.get("/openapi.json", (ctx) => {
    ctx.type = "application/json";
    ctx.body = openApi;
  });

  return createKoa(dependencies, inboxes, router);
}

function createKoa({ corsOrigins, log }: HttpDependencies, ...routers: readonly Router[]): Koa {
  const app = new Koa();
  app.use(releaseBody);
  app.use(createErrorSink(log));
  app.use(setHeaders);
  app.use(refuseNul);
  app.use(createCors(corsOrigins));
  for (const router of routers) app.use(router.routes());
  app.use((ctx) => refuseUnknown(ctx, routers));
  app.on("error", (error) => log.debug({ err: error }, "a connection ended early"));
  return app;
}

async function setHeaders(ctx: Context, next: Next): Promise<void> {
  ctx.set("X-Content-Type-Options", "nosniff");
  ctx.set("Referrer-Policy", "no-referrer");
  await next();
}

/** NUL in a path or a query names nothing, and no database takes it. */
async function refuseNul(ctx: Context, next: Next): Promise<void> {
  if (ctx.url.includes("%00")) {
    const errors = [{ path: "", code: "invalid_format", message: "NUL is not accepted in a URL" }];
    throw new Problem("invalid", "NUL is not accepted in a URL.", { errors });
  }
  await next();
}

/** Browsers of the configured origins may use `/api/v1`; nobody else's may. */
function createCors(origins: readonly string[]) {
  return async (ctx: Context, next: Next): Promise<void> => {
    const origin = ctx.get("origin");
    if (!ctx.path.startsWith("/api/v1/") || !origins.includes(origin)) return await next();
    ctx.vary("Origin");
    ctx.set("Access-Control-Allow-Origin", origin);
    ctx.set("Access-Control-Expose-Headers", "ETag, Location, Retry-After");
    if (ctx.method !== "OPTIONS") return await next();
    ctx.set("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE");
    ctx.set("Access-Control-Allow-Headers", "Authorization, Content-Type, If-Match, Idempotency-Key, Last-Event-ID");
    ctx.set("Access-Control-Max-Age", "600");
    ctx.status = 204;
  };
}

/** What a process that only delivers answers: whether it lives, and whether its stores do. */
export function createHealthApp(dependencies: HttpDependencies): Koa {
  const router = new Router({ sensitive: true });
  mountHealth(router, dependencies);
  return createKoa(dependencies, router);
}

function mountHealth(router: Router, { database, redisState }: HttpDependencies): void {
  router.get("/health", (ctx) => {
    ctx.body = { status: "ok" };
  });
  router.get("/ready", async (ctx) => {
    try {
      // A transaction: PGlite begins none while its disk has no room to write, and still reads.
      await database.transaction((tx) => tx.execute(sql`select 1`));
    } catch {
      throw new Problem("unavailable", "The database does not answer, or cannot be written to.");
    }
    // Without Redis everything is still accepted and delivered, each process by itself: said, but no reason to stay away.
    const redis = redisState?.();
    if (redis === undefined) ctx.body = { status: "ready" };
    else ctx.body = { status: redis === "ok" ? "ready" : "degraded", redis };
  });
}

function refuseUnknown(ctx: Context, routers: readonly Router[]): void {
  const matched = routers.flatMap(({ stack }) => stack).filter((layer) => layer.match(ctx.path));
  const allow = [...new Set(matched.flatMap((layer) => layer.methods))];
  if (allow.length > 0) throw new Problem("method_not_allowed", undefined, { allow });
  throw new Problem("not_found");
}

export interface HttpServer {
  readonly server: Server;
  /** Waits for the requests that are being handled, those too whose connection has gone. */
  readonly idle: () => Promise<void>;
}

/**
 * The server under the app: what its parser refuses is a bare 400 and a closed connection, too large headers 431, and
 * headers that take longer than 10 seconds 408.
 */
export function createHttpServer(app: Koa): HttpServer {
  const handle = app.callback();
  const handling = new Set<Promise<void>>();
  const server = createServer(
    {
      headersTimeout: limits.headerMilliseconds,
      connectionsCheckingInterval: 1_000,
      requestTimeout: limits.headerMilliseconds + limits.bodyMilliseconds + 5_000,
      keepAliveTimeout: 65_000,
    },
    (request, response) => {
      const hosts = request.rawHeaders.filter((name, at) => at % 2 === 0 && name.toLowerCase() === "host");
      if (hosts.length > 1) {
        request.socket.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        return;
      }
      const handled: Promise<void> = handle(request, response).finally(() => handling.delete(handled));
      handling.add(handled);
    },
  );
  return { server, idle: async () => void (await Promise.all(handling)) };
}
