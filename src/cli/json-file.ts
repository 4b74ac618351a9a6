/** JSON files that commands read: judged by a schema, with faults named by their place in the file. */
import type { z } from "zod";
import { CliError, readText } from "./prompt.ts";

/** @throws {CliError} `unreadable_file`, `invalid_file` with `errors: [{path, message}]` */
export async function readJsonFile<T>(file: string, schema: z.ZodType<T, unknown>): Promise<T> {
  const text = await readText(file);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new CliError("invalid_file", `${file} is not JSON: ${(cause as Error).message}`, { file }, { cause });
  }
  const parsed = schema.safeParse(value, { error: explain });
  if (parsed.success) return parsed.data;
  const errors = parsed.error.issues.flatMap(faultsOf).slice(0, 20);
  throw new CliError("invalid_file", `${file} does not have the form that is needed.`, { file, errors });
}

/** An unknown member is a fault at its own place, not at that of the object around it. */
function faultsOf(issue: z.core.$ZodIssue): readonly { readonly path: string; readonly message: string }[] {
  const places = issue.code === "unrecognized_keys" ? issue.keys.map((key) => [...issue.path, key]) : [issue.path];
  return places.map((place) => ({ path: place.join("."), message: issue.message }));
}

/** The fault in words of the file instead of the validator's; where the schema has words of its own, those are taken. */
const explain: z.core.$ZodErrorMap = (issue) => {
  const must = (be: string | undefined) =>
    be && (issue.input === undefined ? `is missing: it must be ${be}` : `must be ${be}`);
  switch (issue.code) {
    case "invalid_type":
      return must(kinds[issue.expected]);
    case "invalid_value":
      return must(`one of ${issue.values.join(", ")}`);
    case "invalid_format":
      return must(formats[issue.format]);
    case "too_small":
      return issue.minimum === 1 ? "must not be empty" : undefined;
    case "too_big":
      return issue.origin === "string" ? `must have at most ${issue.maximum} characters` : undefined;
    case "unrecognized_keys":
      return "is not known here";
    default:
      return undefined;
  }
};

const kinds: Readonly<Record<string, string>> = {
  string: "a text",
  array: "a list in [ ]",
  object: "an object in { }",
  record: "an object in { }",
};

const formats: Readonly<Record<string, string>> = {
  date: "a day that exists, such as 2026-12-31",
  url: "a URL such as https://www.cnil.fr/",
};
