/** OpenAPI 3.1 of the REST API, made from the routes: their schemas and the rights that they declare. */
import { z } from "zod";
import { createDocument, type ZodOpenApiPathsObject } from "zod-openapi";
import { problemKinds } from "../errors.ts";
import type { Access, Route } from "./route.ts";

const problemSchema = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.number(),
    code: z.string().describe(`stable: ${Object.keys(problemKinds).join(", ")}`),
    detail: z.string(),
    errors: z.array(z.object({ path: z.string(), code: z.string(), message: z.string() })).optional(),
  })
  .meta({ id: "Problem" });

export function createOpenApi(
  routes: readonly Route[],
  { origin, version }: { origin: string; version: string },
): object {
  const paths: ZodOpenApiPathsObject = {};
  for (const route of routes) {
    const path = `/api/v1${route.path.replace(/:(\w+)/g, "{$1}")}`;
    paths[path] = { ...paths[path], [route.method]: operationOf(route) };
  }
  return createDocument({
    openapi: "3.1.0",
    info: {
      title: "Concordat",
      version,
      description: "A node's API for platforms and administrators. Errors are problem documents with a stable code.",
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    servers: [{ url: origin }],
    components: { securitySchemes: { token: { type: "http", scheme: "bearer", bearerFormat: "JWT" } } },
    paths,
  });
}

function operationOf(route: Route) {
  const { status, schema, stream } = route.answer;
  const media = { "application/json": { schema: route.body as z.ZodType } };
  const form = { "application/x-www-form-urlencoded": { schema: route.body as z.ZodType } };
  return {
    summary: route.summary,
    description: describeAccess(route.access),
    security: route.access === "public" ? [] : [{ token: [] }],
    requestParams: {
      ...(route.params ? { path: route.params as z.ZodObject } : {}),
      ...(route.query ? { query: route.query as z.ZodObject } : {}),
      header: headersOf(route),
    },
    ...(route.body ? { requestBody: { content: route.form ? { ...media, ...form } : media } } : {}),
    responses: {
      [String(status)]: schema
        ? {
            description: "success",
            content: {
              "application/json": { schema },
              ...(stream ? { "text/event-stream": { schema: stream } } : {}),
            },
          }
        : { description: "success" },
      default: {
        description: "refused or failed",
        content: { "application/problem+json": { schema: problemSchema } },
      },
    },
  };
}

function headersOf({ method, access, current }: Route): z.ZodObject {
  const ifMatch = z.string().optional().describe("ETags, of which the resource must have one: else 412");
  const key = z.string().max(255).optional().describe("The same key with the same request gets the same answer");
  return z.object({
    ...(current ? { "If-Match": ifMatch } : {}),
    ...(method === "post" && access !== "public" ? { "Idempotency-Key": key } : {}),
  });
}

function describeAccess(access: Access): string {
  if (access === "public") return "Needs no token.";
  const parts = Object.entries(access).map(([kind, right]) => (right === "any" ? kind : `${kind} with ${right}`));
  return `For: ${parts.join("; ")}.`;
}
