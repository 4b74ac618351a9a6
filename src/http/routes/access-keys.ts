/** Access keys of platforms. */
import { z } from "zod";
import { givenNameSchema, instantSchema } from "../../protocol/values.ts";
import {
  archiveAccessKey,
  changeAccessKey,
  getAccessKey,
  issueAccessKey,
  listAccessKeys,
  lockAccessKey,
} from "../../registry/access-keys.ts";
import type { HttpDependencies } from "../dependencies.ts";
import { defineRoute, idParams, listOf, pageQuery, type Route } from "../route.ts";
import { accessKeySchema, issuedAccessKeySchema, newAccessKeySchema } from "../shapes.ts";

const instant = (text: string | undefined) => (text === undefined ? undefined : new Date(text));

export function accessKeyRoutes(dependencies: HttpDependencies): readonly Route[] {
  const { database, accessKeyDays } = dependencies;
  return [
    defineRoute({
      method: "get",
      path: "/platforms/access-keys",
      summary: "All access keys, never their secrets",
      access: { administrator: "manage_access_keys" },
      query: pageQuery.extend({ platform_id: z.uuid().optional() }),
      answer: { status: 200, schema: listOf(accessKeySchema) },
      handle: async ({ caller, query }) => ({
        status: 200,
        body: await listAccessKeys(database.db, caller, { ...query, platformId: query.platform_id }),
      }),
    }),
    defineRoute({
      method: "get",
      path: "/platforms/access-keys/my-keys",
      summary: "The caller's own access keys",
      access: { platform: "any" },
      query: pageQuery,
      answer: { status: 200, schema: listOf(accessKeySchema) },
      handle: async ({ caller, query }) => ({ status: 200, body: await listAccessKeys(database.db, caller, query) }),
    }),
    defineRoute({
      method: "get",
      path: "/platforms/access-keys/:id",
      summary: "One access key; a platform sees its own only",
      access: { administrator: "manage_access_keys", platform: "any" },
      params: idParams,
      answer: { status: 200, schema: accessKeySchema },
      handle: async ({ caller, params }) => ({ status: 200, body: await getAccessKey(database.db, caller, params.id) }),
    }),
    defineRoute({
      method: "post",
      path: "/platforms/access-keys",
      summary: "Issue another access key; others stay valid, so that keys change without a gap",
      access: { administrator: "manage_access_keys" },
      body: newAccessKeySchema.extend({ platform_id: z.uuid() }),
      answer: { status: 201, schema: issuedAccessKeySchema },
      handle: async ({ caller, body, commit }) => {
        const wanted = {
          platformId: body.platform_id,
          label: body.label,
          startsAt: instant(body.start_datetime),
          endsAt: instant(body.end_datetime),
          rights: body.rights,
        };
        const key = await commit(async (tx, { now }) => ({
          value: await issueAccessKey(tx, caller, wanted, { now, days: accessKeyDays }),
          lanes: [],
        }));
        return { status: 201, location: `/api/v1/platforms/access-keys/${key.id}`, body: key };
      },
    }),
    defineRoute({
      method: "patch",
      path: "/platforms/access-keys/:id",
      summary: "Change an access key's label or validity",
      access: { administrator: "manage_access_keys" },
      params: idParams,
      body: z.strictObject({
        label: givenNameSchema(200).optional(),
        start_datetime: instantSchema.optional(),
        end_datetime: instantSchema.optional(),
      }),
      answer: { status: 200, schema: accessKeySchema },
      current: (tx, { caller, params }) => lockAccessKey(tx, caller, params.id),
      handle: async ({ caller, params, body, commit }) => {
        const change = {
          label: body.label,
          startsAt: instant(body.start_datetime),
          endsAt: instant(body.end_datetime),
        };
        return {
          status: 200,
          body: await commit(async (tx, { now }) => ({
            value: await changeAccessKey(tx, caller, params.id, change, now),
            lanes: [],
          })),
        };
      },
    }),
    defineRoute({
      method: "patch",
      path: "/platforms/access-keys/:id/archive",
      summary: "End an access key now, with every session that it opened",
      access: { administrator: "manage_access_keys" },
      params: idParams,
      body: z.strictObject({}),
      answer: { status: 200, schema: accessKeySchema },
      current: (tx, { caller, params }) => lockAccessKey(tx, caller, params.id),
      handle: async ({ caller, params, commit }) => ({
        status: 200,
        body: await commit(async (tx, { now }) => ({
          value: await archiveAccessKey(tx, caller, params.id, now),
          lanes: [],
        })),
      }),
    }),
  ];
}
