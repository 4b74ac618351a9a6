/** `admin entities` and `admin frameworks`: what projects name. */
import type { Command } from "commander";
import { z } from "zod";
import { frameworkKinds, type JsonObject } from "../protocol/objects.ts";
import { dateSchema, givenNameSchema } from "../protocol/values.ts";
import { type RestClient, RestError } from "../sdk/rest.ts";
import { openAdmin, originOption } from "./admin-session.ts";
import { addCommand, addGroup, type CliContext } from "./context.ts";
import { readJsonFile } from "./json-file.ts";

/** An entity in a file, also in the form of the Research Organization Registry; other members are left aside. */
const entitySchema = z
  .object({
    name: givenNameSchema(),
    type: givenNameSchema(100).optional(),
    /** ROR: several, among them whether it funds research, which is not what it is. */
    types: z.array(givenNameSchema(100)).optional(),
    ror: z.string().max(200).nullish(),
    finess: z.string().max(50).nullish(),
    city: givenNameSchema(200).nullish(),
    country: givenNameSchema(200).nullish(),
  })
  .transform(({ type, types = [], ...rest }, context) => {
    const found = type ?? types.find((one) => one !== "funder") ?? types[0];
    if (found === undefined) context.addIssue({ code: "custom", path: ["type"], message: "is missing" });
    return { ...rest, type: found ?? "" };
  });

const frameworkSchema = z
  .object({
    kind: z.enum(frameworkKinds),
    name: givenNameSchema(),
    description_url: z.url().nullish(),
    url: z.url().nullish(),
    reference: givenNameSchema().nullish(),
    valid_from: dateSchema.nullish(),
    valid_until: dateSchema.nullish(),
  })
  .transform(({ url, ...rest }) => ({ ...rest, description_url: rest.description_url ?? url }));

type NewEntity = z.infer<typeof entitySchema>;
type NewFramework = z.infer<typeof frameworkSchema>;

export function addRegistryCommands(admin: Command, context: CliContext): void {
  addEntityCommands(admin, context);
  addFrameworkCommands(admin, context);
}

function addEntityCommands(admin: Command, context: CliContext): void {
  const { output } = context;
  const entities = addGroup(admin, "entities", "hospitals, universities and others that projects name");

  addCommand(entities, "list", "entities")
    .option(...originOption)
    .action(async (options: { origin?: string }) => {
      const client = await openAdmin(context, options.origin);
      output.table(
        await client.list("/entities"),
        [
          { title: "name", value: (row) => row.name },
          { title: "type", value: (row) => (row.entity_type as { name: string } | null)?.name },
          { title: "city", value: (row) => row.city },
          { title: "ror", value: (row) => row.ror },
        ],
        "There are no entities yet: concordat admin entities add NAME --type TYPE",
      );
    });

  addCommand(entities, "add", "add an entity; its type too when it is new")
    .argument("<name>", "name by which projects refer to it")
    .requiredOption("--type <type>", "kind of entity, such as hospital")
    .option("--ror <url>", "its ROR id")
    .option("--finess <number>", "its FINESS number")
    .option("--city <city>", "city that it is in")
    .option("--country <country>", "country that it is in")
    .option(...originOption)
    .action(async (name: string, { origin, ...rest }: Omit<NewEntity, "name"> & { origin?: string; json?: true }) => {
      const client = await openAdmin(context, origin);
      const added = await createEntity(client, { ...rest, name }, await readTypes(client));
      output.done(added, `${name} is registered.`);
    });

  addCommand(entities, "import", "add those of a JSON file that are not registered yet")
    .argument("<file>", "an array of {name, type, ror?, finess?, city?, country?}, or of ROR records")
    .option(...originOption)
    .action(async (file: string, options: { origin?: string }) => {
      const records = await readJsonFile(file, z.array(entitySchema));
      const client = await openAdmin(context, options.origin);
      const types = await readTypes(client);
      const count = await importAll(records, (record) => createEntity(client, record, types));
      output.done(count, `${count.added} entities added, ${count.present} were registered already.`);
    });
}

function addFrameworkCommands(admin: Command, context: CliContext): void {
  const { output } = context;
  const frameworks = addGroup(admin, "frameworks", "regulatory frameworks that projects name");

  addCommand(frameworks, "list", "regulatory frameworks")
    .option(...originOption)
    .action(async (options: { origin?: string }) => {
      const client = await openAdmin(context, options.origin);
      output.table(
        await client.list("/projects/frameworks"),
        [
          { title: "kind", value: (row) => row.kind, whole: true },
          { title: "name", value: (row) => row.name },
          { title: "reference", value: (row) => row.reference },
          { title: "until", value: (row) => row.valid_until },
        ],
        "There are no frameworks yet: concordat admin frameworks add NAME --kind KIND",
      );
    });

  addCommand(frameworks, "add", "add a regulatory framework")
    .argument("<name>", "name by which projects refer to it, beside its kind")
    .requiredOption("--kind <kind>", `one of ${frameworkKinds.join(", ")}`)
    .option("--url <url>", "where it is described")
    .option("--reference <reference>", "what it is cited by, such as the number of a decision")
    .option("--from <date>", "first day of its validity")
    .option("--until <date>", "last day of its validity")
    .option(...originOption)
    .action(
      async (name: string, options: Record<"kind" | "url" | "reference" | "from" | "until" | "origin", string>) => {
        const client = await openAdmin(context, options.origin);
        const body = {
          name,
          kind: options.kind,
          description_url: options.url,
          reference: options.reference,
          valid_from: options.from,
          valid_until: options.until,
        };
        output.done(await client.request("POST", "/projects/frameworks", { body }), `${name} is registered.`);
      },
    );

  addCommand(frameworks, "import", "add those of a JSON file that are not registered yet")
    .argument("<file>", "an array of {kind, name, description_url?, reference?, valid_from?, valid_until?}")
    .option(...originOption)
    .action(async (file: string, options: { origin?: string }) => {
      const records = await readJsonFile(file, z.array(frameworkSchema));
      const client = await openAdmin(context, options.origin);
      const count = await importAll(records, (body: NewFramework) =>
        client.request("POST", "/projects/frameworks", { body }),
      );
      output.done(count, `${count.added} frameworks added, ${count.present} were registered already.`);
    });
}

/** Adds one after the other; what is registered already is counted, anything else ends the import. */
async function importAll<T>(records: readonly T[], add: (record: T) => Promise<unknown>) {
  let added = 0;
  let present = 0;
  for (const record of records) {
    try {
      await add(record);
      added += 1;
    } catch (error) {
      if (!(error instanceof RestError && error.code === "id_taken")) throw error;
      present += 1;
    }
  }
  return { added, present };
}

async function readTypes(client: RestClient): Promise<Map<string, string>> {
  const types = (await client.list("/entities/types")) as readonly { id: string; name: string }[];
  return new Map(types.map(({ id, name }) => [name, id]));
}

async function createEntity(client: RestClient, entity: NewEntity, types: Map<string, string>): Promise<unknown> {
  const { name, type, ror, finess, city, country } = entity;
  if (!types.has(type)) {
    const created = (await client.request("POST", "/entities/types", { body: { name: type } })) as JsonObject;
    types.set(type, String(created.id));
  }
  const body = { name, entity_type_id: types.get(type), ror, finess, city, country };
  return await client.request("POST", "/entities", { body });
}
