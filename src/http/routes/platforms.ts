/** Platforms, whom they may share with, and their key bundles. */
import { z } from "zod";
import { announcePlatform } from "../../outbox/directory.ts";
import { endPlatform } from "../../outbox/platform-endings.ts";
import { givenNameSchema } from "../../protocol/values.ts";
import { publishKeyBundle, readKeyBundles, readPublished } from "../../registry/key-bundles.ts";
import { lockToRemove } from "../../registry/platform-endings.ts";
import {
  changePlatform,
  createPlatform,
  findLocalByHandle,
  getPlatform,
  listPlatforms,
  listRecipients,
  lockPlatform,
} from "../../registry/platforms.ts";
import type { HttpDependencies } from "../dependencies.ts";
import { defineRoute, idParams, listOf, pageQuery, type Route } from "../route.ts";
import {
  handleSchema,
  issuedAccessKeySchema,
  newAccessKeySchema,
  platformSchema,
  publishedBundleSchema,
  recipientSchema,
  rightsSchema,
} from "../shapes.ts";

const instant = (text: string | undefined) => (text === undefined ? undefined : new Date(text));

export function platformRoutes(dependencies: HttpDependencies): readonly Route[] {
  const { database, keys, accessKeyDays } = dependencies;
  return [
    defineRoute({
      method: "get",
      path: "/platforms",
      summary: "All platforms for an administrator, itself for a platform",
      access: { administrator: "manage_platforms", platform: "any" },
      query: pageQuery.extend({ q: z.string().max(200).optional(), uri: z.string().max(2048).optional() }),
      answer: { status: 200, schema: listOf(platformSchema) },
      handle: async ({ caller, query }) => ({ status: 200, body: await listPlatforms(database.db, caller, query) }),
    }),
    defineRoute({
      method: "post",
      path: "/platforms",
      summary: "Give a platform access: platform and first access key, in one transaction",
      access: { administrator: "manage_platforms" },
      body: z.strictObject({
        name: givenNameSchema(200),
        handle: handleSchema.optional(),
        rights: rightsSchema.optional(),
        access_key: newAccessKeySchema.optional(),
      }),
      answer: {
        status: 201,
        schema: platformSchema.extend({ access_keys: z.array(issuedAccessKeySchema) }).meta({ id: "CreatedPlatform" }),
      },
      handle: async ({ caller, body, commit }) => {
        const key = body.access_key ?? {};
        const wanted = {
          name: body.name,
          handle: body.handle,
          rights: body.rights,
          accessKey: {
            label: key.label,
            startsAt: instant(key.start_datetime),
            endsAt: instant(key.end_datetime),
            rights: key.rights,
          },
        };
        const platform = await commit(async (tx, { origin, now }) => ({
          value: await createPlatform(tx, caller, wanted, { origin, now, days: accessKeyDays }),
          lanes: [],
        }));
        return { status: 201, location: `/api/v1/platforms/${platform.id}`, body: platform };
      },
    }),
    defineRoute({
      method: "get",
      path: "/platforms/recipients",
      summary: "The platforms that a platform may share with, of this node and of its peers",
      access: { platform: "directory:read" },
      query: pageQuery,
      answer: { status: 200, schema: listOf(recipientSchema) },
      handle: async ({ caller, query }) => ({ status: 200, body: await listRecipients(database.db, caller, query) }),
    }),
    defineRoute({
      method: "get",
      path: "/platforms/:id",
      summary: "One platform; a platform sees its own only",
      access: { administrator: "manage_platforms", platform: "any" },
      params: idParams,
      answer: { status: 200, schema: platformSchema },
      handle: async ({ caller, params }) => ({ status: 200, body: await getPlatform(database.db, caller, params.id) }),
    }),
    defineRoute({
      method: "patch",
      path: "/platforms/:id",
      summary: "Change a platform: its name by itself; name, rights and status by an administrator",
      access: { administrator: "manage_platforms", platform: "any" },
      params: idParams,
      body: z.strictObject({
        name: givenNameSchema(200).optional(),
        rights: rightsSchema.optional(),
        status: z.enum(["active", "suspended"]).optional(),
      }),
      answer: { status: 200, schema: platformSchema },
      current: (tx, { caller, params }) => lockPlatform(tx, caller, params.id),
      handle: async ({ caller, params, body, commit }) => ({
        status: 200,
        body: await commit(async (tx, context) => {
          const platform = await changePlatform(tx, caller, params.id, body, context.now);
          const row = await findLocalByHandle(tx, platform.handle);
          const renamed = body.name !== undefined && row?.membership != null;
          return { value: platform, lanes: renamed ? await announcePlatform(tx, context, keys, row) : [] };
        }),
      }),
    }),
    defineRoute({
      method: "delete",
      path: "/platforms/:id",
      summary: "Remove a platform for good: by itself, or by an administrator. Its handle is never given out again",
      access: { administrator: "manage_platforms", platform: "any" },
      params: idParams,
      answer: { status: 204 },
      current: (tx, { caller, params }) => lockToRemove(tx, caller, params.id),
      handle: async ({ caller, params, commit }) => {
        await endPlatform(commit, caller, params.id);
        return { status: 204 };
      },
    }),
    defineRoute({
      method: "put",
      path: "/platforms/:id/key-bundle",
      summary: "Publish the platform's newest key bundle and its membership of this instance",
      access: { platform: "any" },
      params: idParams,
      body: publishedBundleSchema,
      answer: { status: 204 },
      handle: async ({ caller, params, body, commit }) => {
        await commit(async (tx, context) => {
          const published = await publishKeyBundle(tx, caller, params.id, body, context.now);
          const row = await findLocalByHandle(tx, caller.handle);
          return { value: undefined, lanes: published && row ? await announcePlatform(tx, context, keys, row) : [] };
        });
        return { status: 204 };
      },
    }),
    defineRoute({
      method: "get",
      path: "/platforms/:id/key-bundle",
      summary: "The newest key bundle and membership of a platform, of this node or of a peer",
      access: { administrator: "manage_platforms", platform: "directory:read" },
      params: idParams,
      answer: { status: 200, schema: publishedBundleSchema },
      handle: async ({ caller, params }) => ({
        status: 200,
        body: await readPublished(database.db, caller, params.id),
      }),
    }),
    defineRoute({
      method: "get",
      path: "/platforms/:id/key-bundles",
      summary: "The key bundles of a platform from a sequence number on",
      access: { administrator: "manage_platforms", platform: "directory:read" },
      params: idParams,
      query: z.strictObject({ from: z.coerce.number().int().min(1).default(1) }),
      answer: { status: 200, schema: z.object({ items: z.array(z.record(z.string(), z.unknown())) }) },
      handle: async ({ caller, params, query }) => ({
        status: 200,
        body: { items: await readKeyBundles(database.db, caller, params.id, query.from) },
      }),
    }),
  ];
}
