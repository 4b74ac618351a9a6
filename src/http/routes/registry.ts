/** Entities, their types, and regulatory frameworks: read by all, written by administrators. */
import { z } from "zod";
import { frameworkKinds } from "../../protocol/objects.ts";
import { dateSchema, givenNameSchema } from "../../protocol/values.ts";
import {
  createEntity,
  createEntityType,
  getEntity,
  getEntityType,
  listEntities,
  listEntityTypes,
} from "../../registry/entities.ts";
import {
  changeFramework,
  createFramework,
  getFramework,
  listFrameworks,
  lockFramework,
} from "../../registry/frameworks.ts";
import type { HttpDependencies } from "../dependencies.ts";
import { defineRoute, idParams, listOf, pageQuery, type Route } from "../route.ts";
import { entitySchema, entityTypeSchema, frameworkSchema } from "../shapes.ts";

const search = pageQuery.extend({ q: z.string().max(200).optional() });
const everyone = { administrator: "any", platform: "any" } as const;

export function registryRoutes(dependencies: HttpDependencies): readonly Route[] {
  return [...entityRoutes(dependencies), ...frameworkRoutes(dependencies)];
}

function entityRoutes(dependencies: HttpDependencies): readonly Route[] {
  const { database } = dependencies;
  const access = { administrator: "manage_entities" } as const;
  return [
    defineRoute({
      method: "get",
      path: "/entities/types",
      summary: "Types of entities",
      access: everyone,
      query: pageQuery,
      answer: { status: 200, schema: listOf(entityTypeSchema) },
      handle: async ({ query }) => ({ status: 200, body: await listEntityTypes(database.db, query) }),
    }),
    defineRoute({
      method: "post",
      path: "/entities/types",
      summary: "Add a type of entities",
      access,
      body: z.strictObject({ name: givenNameSchema(100) }),
      answer: { status: 201, schema: entityTypeSchema },
      handle: async ({ caller, body, commit }) => {
        const type = await commit(async (tx, { now }) => ({
          value: await createEntityType(tx, caller, body.name, now),
          lanes: [],
        }));
        return { status: 201, location: `/api/v1/entities/types/${type.id}`, body: type };
      },
    }),
    defineRoute({
      method: "get",
      path: "/entities/types/:id",
      summary: "One type of entities",
      access: everyone,
      params: idParams,
      answer: { status: 200, schema: entityTypeSchema },
      handle: async ({ params }) => ({
        status: 200,
        body: await getEntityType(database.db, params.id),
      }),
    }),
    defineRoute({
      method: "get",
      path: "/entities",
      summary: "Entities",
      access: everyone,
      query: search.extend({ name: z.string().max(500).optional() }),
      answer: { status: 200, schema: listOf(entitySchema) },
      handle: async ({ query }) => ({ status: 200, body: await listEntities(database.db, query) }),
    }),
    defineRoute({
      method: "post",
      path: "/entities",
      summary: "Add an entity",
      access,
      body: z.strictObject({
        name: givenNameSchema(),
        entity_type_id: z.uuid(),
        ror: z.string().max(200).nullable().optional(),
        finess: z.string().max(50).nullable().optional(),
        city: givenNameSchema(200).nullable().optional(),
        country: givenNameSchema(200).nullable().optional(),
      }),
      answer: { status: 201, schema: entitySchema },
      handle: async ({ caller, body: { entity_type_id: entityTypeId, ...rest }, commit }) => {
        const entity = await commit(async (tx, { now }) => ({
          value: await createEntity(tx, caller, { ...rest, entityTypeId }, now),
          lanes: [],
        }));
        return { status: 201, location: `/api/v1/entities/${entity.id}`, body: entity };
      },
    }),
    defineRoute({
      method: "get",
      path: "/entities/:id",
      summary: "One entity",
      access: everyone,
      params: idParams,
      answer: { status: 200, schema: entitySchema },
      handle: async ({ params }) => ({ status: 200, body: await getEntity(database.db, params.id) }),
    }),
  ];
}

const newFramework = z.strictObject({
  name: givenNameSchema(),
  kind: z.enum(frameworkKinds),
  description_url: z.url().max(2048).nullable().optional(),
  reference: givenNameSchema().nullable().optional(),
  valid_from: dateSchema.nullable().optional(),
  valid_until: dateSchema.nullable().optional(),
});

const frameworkChange = newFramework.partial();

function frameworkRoutes(dependencies: HttpDependencies): readonly Route[] {
  const { database } = dependencies;
  const access = { administrator: "manage_regulatory_frameworks" } as const;
  return [
    defineRoute({
      method: "get",
      path: "/projects/frameworks",
      summary: "Regulatory frameworks",
      access: everyone,
      query: search.extend({ kind: z.enum(frameworkKinds).optional() }),
      answer: { status: 200, schema: listOf(frameworkSchema) },
      handle: async ({ query }) => ({ status: 200, body: await listFrameworks(database.db, query) }),
    }),
    defineRoute({
      method: "post",
      path: "/projects/frameworks",
      summary: "Add a regulatory framework",
      access,
      body: newFramework,
      answer: { status: 201, schema: frameworkSchema },
      handle: async ({ caller, body, commit }) => {
        const framework = await commit(async (tx, { now }) => ({
          value: await createFramework(tx, caller, { ...changeOf(body), name: body.name, kind: body.kind }, now),
          lanes: [],
        }));
        return { status: 201, location: `/api/v1/projects/frameworks/${framework.id}`, body: framework };
      },
    }),
    defineRoute({
      method: "get",
      path: "/projects/frameworks/:id",
      summary: "One regulatory framework",
      access: everyone,
      params: idParams,
      answer: { status: 200, schema: frameworkSchema },
      handle: async ({ params }) => ({ status: 200, body: await getFramework(database.db, params.id) }),
    }),
    defineRoute({
      method: "patch",
      path: "/projects/frameworks/:id",
      summary: "Change a regulatory framework; null clears a member",
      access,
      params: idParams,
      body: frameworkChange,
      answer: { status: 200, schema: frameworkSchema },
      current: (tx, { params }) => lockFramework(tx, params.id),
      handle: async ({ caller, params, body, commit }) => ({
        status: 200,
        body: await commit(async (tx, { now }) => ({
          value: await changeFramework(tx, caller, params.id, changeOf(body), now),
          lanes: [],
        })),
      }),
    }),
  ];
}

function changeOf(body: z.infer<typeof frameworkChange>) {
  return {
    name: body.name,
    kind: body.kind,
    descriptionUrl: body.description_url,
    reference: body.reference,
    validFrom: body.valid_from,
    validUntil: body.valid_until,
  };
}
