/** Activities: what every one of them has, and how a received one is read (docs/protocol.md, "Activities"). */
import { z } from "zod";
import { Problem } from "../errors.ts";
import { requirePlainContexts } from "./contexts.ts";
import { limits } from "./limits.ts";
import { idOf, isJsonObject, type JsonObject, judgeShape } from "./objects.ts";
import { idSchema, nameSchema } from "./values.ts";

export const protocolVersion = 1;

export const activityMediaType = "application/activity+json";

export const context = [
  "https://www.w3.org/ns/activitystreams",
  "https://w3id.org/security/v1",
  "https://w3id.org/security/multikey/v1",
  { hf: "urn:concordat:ns#" },
] as const;

/** What implementations announce in `generator.implements` (FEP-844e). */
export const features = {
  receipts: "urn:concordat:ns#receipts",
  messageSignatures: "https://datatracker.ietf.org/doc/html/rfc9421",
} as const;

const idListSchema = z.union([z.string(), z.array(z.string())]).optional();

const activitySchema = z.looseObject({
  id: idSchema,
  type: nameSchema(200),
  actor: z.union([idSchema, z.looseObject({ id: idSchema })]),
  to: idListSchema,
  cc: idListSchema,
  object: z.union([idSchema, z.looseObject({ id: idSchema })]).optional(),
  target: z.union([idSchema, z.looseObject({ id: idSchema })]).optional(),
  "hf:protocol": z.int().min(1).optional(),
});

/** A received activity: the members that are read, and the whole as it came. */
export interface Activity {
  readonly id: string;
  readonly type: string;
  readonly actor: string;
  readonly to: readonly string[];
  /** Id of the object, and the object itself where it is embedded. */
  readonly objectId: string | null;
  readonly object: JsonObject | null;
  readonly targetId: string | null;
  readonly protocol: number;
  readonly whole: JsonObject;
}

/**
 * Reads the members that every activity has; unknown ones are kept in `whole`.
 * @throws {Problem} `malformed_activity`, `malformed_id`, `too_large` (more than 1,000 recipients)
 */
export function parseActivity(value: unknown): Activity {
  if (!isJsonObject(value)) throw new Problem("malformed_activity", "An activity is a JSON object.");
  const to = [value.to, value.cc].flat().filter((id) => typeof id === "string");
  requireFewRecipients(to, value.object);
  const judged = judgeShape(activitySchema, value);
  if (judged.malformedId) throw new Problem("malformed_id");
  const [fault] = judged.malformed;
  if (fault) throw new Problem("malformed_activity", `${fault.path}: ${fault.message}`);
  requirePlainContexts(value);
  return {
    id: value.id as string,
    type: value.type as string,
    actor: idOf(value.actor) as string,
    to,
    objectId: idOf(value.object),
    object: isJsonObject(value.object) ? value.object : null,
    targetId: idOf(value.target),
    protocol: (value["hf:protocol"] as number | undefined) ?? 1,
    whole: value,
  };
}

/** Like every limit of size it is judged before the shape. @throws {Problem} `too_large` */
function requireFewRecipients(to: readonly string[], object: unknown): void {
  const grants = isJsonObject(object) ? object["hf:grants"] : undefined;
  if (to.length > limits.recipients || (Array.isArray(grants) && grants.length > limits.recipients)) {
    throw new Problem("too_large", `An activity has at most ${limits.recipients} recipients.`);
  }
}
