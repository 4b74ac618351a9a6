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
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const errors = parsed.error.issues.slice(0, 20).map(({ path, message }) => ({ path: path.join("."), message }));
  throw new CliError("invalid_file", `${file} does not have the form that is needed.`, { file, errors });
}
