/** The real records of `examples/`, in the forms that nodes register and that the SDK declares. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { frameworkKinds, type JsonObject } from "../../protocol/objects.ts";
import { dateSchema } from "../../protocol/values.ts";
import type { ProjectFile } from "../../sdk/project-file.ts";
import type { RestClient } from "../../sdk/rest.ts";
import { readJsonFile } from "../json-file.ts";
import { expect } from "./wait.ts";

const entitySchema = z.object({
  name: z.string(),
  ror: z.string(),
  types: z.array(z.string()),
  city: z.string(),
  country: z.string(),
});
const frameworkSchema = z.object({ kind: z.enum(frameworkKinds), name: z.string(), url: z.string() });
const studySchema = z.object({
  code: z.string(),
  title: z.string(),
  description: z.string().nullable(),
  start_date: z.string().nullable(),
  end_date: z.string().nullable(),
  status: z.string().nullable(),
  sponsor: z.object({ ror: z.string().nullable() }),
});

type Entity = z.infer<typeof entitySchema>;
type Framework = z.infer<typeof frameworkSchema>;
type Study = z.infer<typeof studySchema>;

export interface ExampleData {
  readonly entities: readonly Entity[];
  readonly frameworks: readonly Framework[];
  readonly studies: readonly Study[];
}

/** @throws {CliError} when the package has lost its examples */
export async function readExampleData(): Promise<ExampleData> {
  const directory = findExamples();
  const [entities, frameworks, studies] = await Promise.all([
    readJsonFile(join(directory, "entities.json"), z.array(entitySchema)),
    readJsonFile(join(directory, "frameworks.json"), z.array(frameworkSchema)),
    readJsonFile(join(directory, "projects.json"), z.array(studySchema)),
  ]);
  return { entities, frameworks, studies };
}

/** The package's folder is above this file, nearer in `dist` than in the build of the tests. */
function findExamples(): string {
  let at = import.meta.dirname;
  while (!existsSync(join(at, "examples", "projects.json")) && at !== join(at, "..")) at = join(at, "..");
  return join(at, "examples");
}

/** Registers every entity, with its type, and every framework at one instance, as its administrator. */
export async function registerExamples(admin: RestClient, { entities, frameworks }: ExampleData): Promise<void> {
  const types = new Map<string, string>();
  for (const { name, ror, types: kinds, city, country } of entities) {
    // Whether it funds research is not what it is.
    const kind = kinds.find((one) => one !== "funder") ?? "other";
    if (!types.has(kind)) {
      const created = (await admin.request("POST", "/entities/types", { body: { name: kind } })) as JsonObject;
      types.set(kind, String(created.id));
    }
    await admin.request("POST", "/entities", { body: { name, entity_type_id: types.get(kind), ror, city, country } });
  }
  for (const { kind, name, url } of frameworks) {
    await admin.request("POST", "/projects/frameworks", { body: { kind, name, description_url: url } });
  }
}

/**
 * A study as a project: code, title, dates, sponsor in clear; its description is sealed, with people whom the registry
 * does not name, and which are therefore invented and say so. `marker` is in the sealed part and nowhere else.
 */
export function projectOf(data: ExampleData, code: string, marker: string): ProjectFile {
  const study = data.studies.find((one) => one.code === code);
  expect(study !== undefined, `${code} is not in examples/projects.json.`);
  const sponsor = data.entities.find(({ ror }) => ror === study.sponsor.ror);
  const framework = data.frameworks.find(({ kind }) => kind === "mr-001");
  return {
    code,
    name: study.title,
    ...(study.status === "Completed" ? { status: "closed" as const } : {}),
    // The registry gives some days only as a month: those stay away rather than being invented.
    ...(isDay(study.start_date) ? { start_date: study.start_date } : {}),
    ...(isDay(study.end_date) ? { end_date: study.end_date } : {}),
    entities: sponsor === undefined ? [] : [{ name: sponsor.name, ror: sponsor.ror }],
    frameworks: framework === undefined ? [] : [framework],
    sealed: {
      description: study.description ?? study.title,
      members: [
        { name: `Illustrative investigator ${marker}`, role: "investigator", note: "illustrative: invented" },
        { name: "Illustrative data manager", role: "data manager", note: "illustrative: invented" },
      ],
      note: "illustrative: the registry names neither members nor the framework MR-001",
    },
  };
}

const isDay = (text: string | null): text is string => dateSchema.safeParse(text).success;
