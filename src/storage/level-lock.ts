/** level's lock on its folder: the kernel ends it with the process, so that none is left behind. */
import { Level } from "level";
import { ConcordatError } from "../errors.ts";

/**
 * Opens a level store, and with it takes its folder for this process.
 * @param directory what the message names: the folder that the administrator knows
 * @throws {ConcordatError} `data_directory_in_use`
 */
export async function openLevel<Value>(
  location: string,
  directory: string,
  valueEncoding: "json" | "utf8",
): Promise<Level<string, Value>> {
  const level = new Level<string, Value>(location, { valueEncoding });
  try {
    await level.open();
    return level;
  } catch (error) {
    if ((error as { cause?: { code?: unknown } }).cause?.code !== "LEVEL_LOCKED") throw error;
    throw new ConcordatError(
      "data_directory_in_use",
      `Another process uses the data directory ${directory}: stop it, or give this one a data directory of its own.`,
      { cause: error },
    );
  }
}
