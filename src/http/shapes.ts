/** Shapes of the REST API that several routes share. */
import { z } from "zod";
import { frameworkKinds } from "../protocol/objects.ts";
import { platformRights } from "../protocol/rights.ts";
import { givenNameSchema, instantSchema } from "../protocol/values.ts";

const nullableText = z.string().nullable();

export const rightsSchema = z
  .array(z.enum(platformRights))
  .refine((rights) => new Set(rights).size === rights.length, { message: "names a right twice" });

export const handleSchema = z
  .string()
  .max(63)
  .regex(/^[a-z0-9]+(?:-[a-z0-9]+)*$/, "must be a slug: lower-case letters, digits, single hyphens");

export const newAccessKeySchema = z.strictObject({
  label: givenNameSchema(200).optional(),
  start_datetime: instantSchema.optional(),
  end_datetime: instantSchema.optional(),
  rights: rightsSchema.nullable().optional(),
});

export const accessKeySchema = z
  .object({
    id: z.uuid(),
    platform_id: z.uuid(),
    label: z.string(),
    start_datetime: z.string(),
    end_datetime: z.string(),
    archived_at: nullableText,
    last_used_at: nullableText,
    rights: z.array(z.string()).nullable(),
    prefix: z.string(),
  })
  .meta({ id: "AccessKey" });

export const issuedAccessKeySchema = accessKeySchema
  .extend({ key: z.string().describe("the secret; shown here and never again") })
  .meta({ id: "IssuedAccessKey" });

export const platformSchema = z
  .object({
    id: z.uuid(),
    uri: z.string(),
    handle: z.string(),
    name: z.string(),
    status: z.enum(["active", "suspended", "removed"]),
    rights: z.array(z.string()),
    home_instance: nullableText,
    user_account: nullableText,
    key_bundle: z.object({ seq: z.number(), fingerprint: z.string(), expires_at: z.string() }).nullable(),
    owned_project_count: z.number(),
    shared_project_count: z.number(),
    created_at: z.string(),
  })
  .meta({ id: "Platform" });

export const recipientSchema = z
  .object({
    id: z.uuid(),
    uri: z.string(),
    handle: z.string(),
    name: z.string(),
    home_instance: nullableText,
    fingerprint: nullableText,
  })
  .meta({ id: "Recipient" });

export const publishedBundleSchema = z
  .strictObject({
    bundle: z.record(z.string(), z.unknown()).describe("General JWS, typ hf-key-bundle"),
    membership: z.string().max(4096).describe("compact JWS, typ hf-membership"),
  })
  .meta({ id: "PublishedKeyBundle" });

export const entityTypeSchema = z.object({ id: z.uuid(), name: z.string() }).meta({ id: "EntityType" });

export const entitySchema = z
  .object({
    id: z.uuid(),
    name: z.string(),
    entity_type: entityTypeSchema,
    ror: nullableText,
    finess: nullableText,
    city: nullableText,
    country: nullableText,
  })
  .meta({ id: "Entity" });

export const frameworkSchema = z
  .object({
    id: z.uuid(),
    name: z.string(),
    kind: z.enum(frameworkKinds),
    description_url: nullableText,
    reference: nullableText,
    valid_from: nullableText,
    valid_until: nullableText,
  })
  .meta({ id: "RegulatoryFramework" });

export const projectViewSchema = z
  .object({
    id: z.uuid(),
    uri: z.string(),
    code: z.string(),
    name: nullableText,
    status: nullableText,
    start_date: nullableText,
    end_date: nullableText,
    owner_platform: nullableText,
    owner_platform_id: nullableText,
    owner_uri: z.string(),
    allowed_platforms: z.array(z.string()),
    grants: z.array(
      z.object({
        platform_id: nullableText,
        platform: z.string(),
        name: nullableText,
        readonly: z.boolean(),
        from: z.string(),
        expires_at: nullableText,
      }),
    ),
    regulatory_frameworks: z.array(z.record(z.string(), z.unknown())),
    involved_entities: z.array(z.record(z.string(), z.unknown())),
    involved_users: z.array(z.object({ id: z.string(), username: z.string() })),
    revision: z.number(),
    access: z.enum(["owner", "readonly", "editable", "administrator"]),
    needs_reseal: z.boolean(),
    deleted_at: nullableText,
    created_at: z.string(),
    updated_at: z.string(),
    object: z.record(z.string(), z.unknown()).optional().describe("the hf:Project, sealed part included"),
    owner_object: z.record(z.string(), z.unknown()).optional(),
  })
  .meta({ id: "Project" });

const deliveryErrorSchema = z.object({ status: z.number().nullable(), code: z.string(), at: z.string() }).nullable();

export const peerSchema = z
  .object({
    id: z.uuid(),
    origin: z.string(),
    state: z.enum(["pending_out", "pending_in", "approved", "rejected", "suspended", "revoked"]),
    name: nullableText,
    software: nullableText,
    fingerprint: nullableText,
    held: nullableText.describe("why its new keys wait for an administrator"),
    signature_form: nullableText,
    policy: z.object({
      platforms: z.union([z.literal("all"), z.array(z.string())]),
      activities: z.union([z.literal("all"), z.array(z.string())]),
      per_minute: z.number().nullable(),
      per_day: z.number().nullable(),
    }),
    lane: z.object({
      state: z.enum(["idle", "active", "backing_off", "held"]),
      depth: z.number(),
      dead: z.number(),
      oldest_at: nullableText,
      next_attempt_at: nullableText,
      last_error: deliveryErrorSchema,
    }),
    requested_at: nullableText,
    opened_at: nullableText,
    approved_at: nullableText,
  })
  .meta({ id: "Peer" });

export const deliverySchema = z
  .object({
    id: z.uuid(),
    peer: z.string(),
    activity: z.string(),
    type: z.string(),
    state: z.enum(["queued", "delivered", "dead", "held", "discarded", "cancelled"]),
    attempts: z.number(),
    next_attempt_at: nullableText,
    last_error: deliveryErrorSchema,
    receipt: z.boolean(),
    created_at: z.string(),
    delivered_at: nullableText,
  })
  .meta({ id: "Delivery" });

export const receiptSchema = z
  .object({
    id: z.string(),
    activity: z.string(),
    direction: z.enum(["in", "out"]),
    peer: z.string(),
    object: z.string().nullable(),
    code: z.string().nullable(),
    effect: z.string(),
    received_at: z.string(),
    jws: z.string(),
  })
  .meta({ id: "Receipt" });

export const eventSchema = z
  .object({
    id: z.number(),
    type: z.string(),
    at: z.string(),
    object: nullableText,
    revision: z.number().optional(),
    actor: z.string().optional(),
    data: z.record(z.string(), z.unknown()).optional(),
  })
  .meta({ id: "Event" });

export const auditEntrySchema = z
  .object({
    seq: z.number(),
    at: z.string(),
    actor: nullableText,
    action: z.string(),
    object: nullableText,
    outcome: z.enum(["ok", "refused"]),
    code: nullableText,
    count: z.number(),
    address: nullableText,
    prev: z.string(),
    hash: z.string(),
  })
  .meta({ id: "AuditEntry" });
