/** The objects that travel as snapshots (docs/protocol.md, "Activities"), and what is refused in them. */
import { z } from "zod";
import { Problem } from "../errors.ts";
import { canonicalJson } from "./canonical-json.ts";
import { limits } from "./limits.ts";
import { dateSchema, idSchema, instantSchema, nameSchema, revisionSchema } from "./values.ts";

export type JsonObject = Record<string, unknown>;

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** `type` of an activity or object as a list. */
export function typesOf(value: unknown): readonly string[] {
  if (!isJsonObject(value)) return [];
  return [value.type].flat().filter((type) => typeof type === "string");
}

/** The id that a member names: a bare id, or that of an embedded object. */
export function idOf(value: unknown): string | null {
  if (typeof value === "string") return value;
  return isJsonObject(value) && typeof value.id === "string" ? value.id : null;
}

export const frameworkKinds = [
  "mr-001",
  "mr-002",
  "mr-003",
  "mr-004",
  "mr-005",
  "mr-006",
  "mr-007",
  "mr-008",
  "cnil-authorisation",
  "ehds-permit",
  "ethics",
  "other",
] as const;

const ordered = (from: string | undefined, to: string | undefined) =>
  from === undefined || to === undefined || from <= to;

export const entityItemSchema = z.strictObject({
  name: nameSchema(),
  type: nameSchema(100).optional(),
  ror: nameSchema(200).optional(),
  finess: nameSchema(50).optional(),
});

export const frameworkItemSchema = z
  .strictObject({
    kind: z.enum(frameworkKinds),
    name: nameSchema(),
    url: z
      .url({ protocol: /^https?$/ })
      .max(limits.idCharacters)
      .optional(),
    reference: nameSchema().optional(),
    validFrom: dateSchema.optional(),
    validUntil: dateSchema.optional(),
  })
  .refine((item) => ordered(item.validFrom, item.validUntil), {
    message: "ends before it begins",
    path: ["validUntil"],
  });

const grantModes = ["readonly", "editable"] as const;

const grantSchema = z
  .strictObject({
    platform: idSchema,
    mode: z.enum(grantModes),
    from: instantSchema,
    expires: instantSchema.optional(),
  })
  .refine((grant) => grant.expires === undefined || Date.parse(grant.from) < Date.parse(grant.expires), {
    message: "ends before it begins",
    path: ["expires"],
  });

export const projectStatuses = ["draft", "active", "suspended", "closed"] as const;

/** `hf:Project`. The owner may leave any member but id, type, attributedTo, code, grants and revision to the sealed part. */
export const projectSchema = z
  .strictObject({
    "@context": z.unknown().optional(),
    id: idSchema,
    type: z.tuple([z.literal("Document"), z.literal("hf:Project")]),
    attributedTo: idSchema,
    name: nameSchema().optional(),
    "hf:code": nameSchema(200),
    "hf:status": z.enum(projectStatuses).optional(),
    "hf:startDate": dateSchema.optional(),
    "hf:endDate": dateSchema.optional(),
    "hf:entities": z.array(entityItemSchema).max(500).optional(),
    "hf:frameworks": z.array(frameworkItemSchema).max(100).optional(),
    "hf:grants": z
      .array(grantSchema)
      .refine((grants) => new Set(grants.map((grant) => grant.platform)).size === grants.length, {
        message: "names a platform twice",
      }),
    "hf:revision": revisionSchema,
    "hf:sealed": z.unknown().optional(),
  })
  .refine((project) => ordered(project["hf:startDate"], project["hf:endDate"]), {
    message: "ends before it starts",
    path: ["hf:endDate"],
  });

export type Project = z.infer<typeof projectSchema>;
export type Grant = z.infer<typeof grantSchema>;

/** A fault of a shape: where, in which way, in words. */
export interface ShapeFault {
  readonly path: string;
  readonly code: string;
  readonly message: string;
}

export interface JudgedShape<T> {
  /** The value, members and order as received; meaningful only without `malformed`. */
  readonly value: T;
  /** Wrong types, formats, ranges, missing members. */
  readonly malformed: readonly ShapeFault[];
  readonly malformedId: boolean;
  /** Members that the schema does not know: something may be leaking in clear. */
  readonly unknown: readonly UnknownMember[];
}

export interface UnknownMember {
  readonly path: string;
  readonly value: unknown;
}

/** Judges `value` by a strict schema and tells faults of shape from members that are merely unknown. */
export function judgeShape<T>(schema: z.ZodType<T>, value: unknown): JudgedShape<T> {
  const issues = schema.safeParse(value).error?.issues ?? [];
  const unknown = issues.flatMap((issue) =>
    issue.code === "unrecognized_keys" ? issue.keys.map((key) => memberAt(value, [...issue.path, key])) : [],
  );
  const faults = issues.filter((issue) => issue.code !== "unrecognized_keys");
  return {
    value: value as T,
    malformed: faults.map(({ path, code, message }) => ({ path: path.join("."), code, message })),
    malformedId: faults.some((issue) => issue.code === "custom" && issue.params?.problem === "malformed_id"),
    unknown,
  };
}

function memberAt(value: unknown, path: readonly PropertyKey[]): UnknownMember {
  const found = path.reduce((inside, key) => (inside as Record<PropertyKey, unknown>)[key], value);
  return { path: path.join("."), value: found };
}

/** By what right a snapshot may hold members that are unknown here. */
export interface Tolerance {
  /** The sender speaks a newer protocol than we do. */
  readonly newer?: boolean;
  /** The snapshot before it: what a newer protocol brought into that one stays, unchanged. */
  readonly before?: JsonObject | null;
}

/** @throws {Problem} `clear_field_refused` naming the members that nothing allows */
export function refuseUnknownMembers(judged: JudgedShape<Project>, { newer = false, before }: Tolerance = {}): void {
  if (newer || judged.unknown.length === 0) return;
  const known = before ? judgeShape(projectSchema, before).unknown : [];
  const texts = new Map(known.map(({ path, value }) => [path, canonicalJson(value)]));
  const members = judged.unknown.filter(({ path, value }) => texts.get(path) !== canonicalJson(value));
  if (members.length === 0) return;
  throw new Problem("clear_field_refused", "Members that are not of this object's type belong into the sealed part.", {
    members: members.map(({ path }) => path),
  });
}
