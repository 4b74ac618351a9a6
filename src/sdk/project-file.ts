/** Projects as people write them down: plain JSON, of which `sealed` is encrypted and the rest travels in clear. */
import { z } from "zod";
import { entityItemSchema, type frameworkItemSchema, frameworkKinds, projectStatuses } from "../protocol/objects.ts";
import { dateSchema, givenNameSchema, nameSchema } from "../protocol/values.ts";

const entitySchema = z.union([nameSchema(), entityItemSchema], {
  error: "must be the name of an entity, or {name, type?, ror?, finess?}",
});

const frameworkSchema = z.strictObject(
  {
    kind: z.enum(frameworkKinds),
    name: nameSchema(),
    url: z.url().optional(),
    reference: nameSchema().optional(),
    valid_from: dateSchema.optional(),
    valid_until: dateSchema.optional(),
  },
  {
    error: ({ code }) =>
      code === "unrecognized_keys"
        ? "is not known here: a framework has {kind, name, url?, reference?, valid_from?, valid_until?}"
        : undefined,
  },
);

/** Any JSON object; what is in it, nobody but its readers sees. */
const sealedSchema = z.record(z.string(), z.unknown(), {
  error: ({ input }) =>
    `${input === undefined ? "is missing" : "must be an object"}: use {} when nothing is confidential`,
});

/** What is in clear is fixed, so that nothing confidential gets there by a name that nobody knows. */
const projectForm = {
  error: ({ code }: { readonly code: string }): string | undefined => {
    if (code !== "unrecognized_keys") return undefined;
    const clear = Object.keys(projectFileSchema.shape).filter((member) => member !== "sealed");
    return `is no member in clear: those are ${clear.join(", ")}; anything else belongs into "sealed"`;
  },
};

/** A project to declare. Clear members but `code` may be left out, and be in `sealed` instead. */
export const projectFileSchema = z.strictObject(
  {
    code: givenNameSchema(200),
    name: givenNameSchema().optional(),
    status: z.enum(projectStatuses).optional(),
    start_date: dateSchema.optional(),
    end_date: dateSchema.optional(),
    entities: z.array(entitySchema).optional(),
    frameworks: z.array(frameworkSchema).optional(),
    sealed: sealedSchema,
  },
  projectForm,
);

/** A change: absent members stay, `null` takes them out of the clear part, `sealed` is replaced as a whole. */
export const projectChangeSchema = z.strictObject(
  {
    code: nameSchema(200).optional(),
    name: givenNameSchema().nullish(),
    status: z.enum(projectStatuses).nullish(),
    start_date: dateSchema.nullish(),
    end_date: dateSchema.nullish(),
    entities: z.array(entitySchema).nullish(),
    frameworks: z.array(frameworkSchema).nullish(),
    sealed: sealedSchema.optional(),
  },
  projectForm,
);

export type ProjectFile = z.infer<typeof projectFileSchema>;
export type ProjectChange = z.infer<typeof projectChangeSchema>;

type EntityItem = z.infer<typeof entityItemSchema>;
type FrameworkItem = z.infer<typeof frameworkItemSchema>;

/** Clear members of `hf:Project` that a file gives; `null` for those that it takes out. */
export interface ClearMembers {
  readonly name?: string | null;
  readonly "hf:status"?: (typeof projectStatuses)[number] | null;
  readonly "hf:startDate"?: string | null;
  readonly "hf:endDate"?: string | null;
  readonly "hf:entities"?: readonly EntityItem[] | null;
  readonly "hf:frameworks"?: readonly FrameworkItem[] | null;
}

/** The clear members of a file, under their names on the wire; absent ones are absent. */
export function clearMembersOf(file: ProjectChange): ClearMembers {
  return dropAbsent({
    name: file.name,
    "hf:status": file.status,
    "hf:startDate": file.start_date,
    "hf:endDate": file.end_date,
    "hf:entities":
      file.entities?.map((entity) => (typeof entity === "string" ? { name: entity } : entity)) ?? file.entities,
    "hf:frameworks": file.frameworks?.map(frameworkItem) ?? file.frameworks,
  }) as ClearMembers;
}

function frameworkItem({ kind, name, url, reference, valid_from, valid_until }: z.infer<typeof frameworkSchema>) {
  return dropAbsent({ kind, name, url, reference, validFrom: valid_from, validUntil: valid_until }) as FrameworkItem;
}

function dropAbsent(members: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));
}
