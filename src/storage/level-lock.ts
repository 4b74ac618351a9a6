/** level's lock on its folder: the kernel ends it with the process, so that none is left behind. */
import { Level } from "level";
import { ConcordatError } from "../errors.ts";

/**
 * Opens a level store, and with it takes its folder for this process.
 * @param directory what the message names: the folder that the administrator knows
 * @throws {ConcordatError} `data_directory_in_use`, `disk_full`, `data_directory_refused`
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
    throw explain(error, directory);
  }
}

function explain(error: unknown, directory: string): unknown {
  const { code, message } = ((error as { cause?: unknown }).cause ?? {}) as { code?: unknown; message?: unknown };
  const options = { cause: error };
  if (code === "LEVEL_LOCKED") {
    return new ConcordatError(
      "data_directory_in_use",
      `Another process uses the data directory ${directory}: stop it, or give this one a data directory of its own.`,
      options,
    );
  }
  // level's code is the same for all of these; the text is the system's.
  if (code !== "LEVEL_IO_ERROR") return error;
  if (/No space left on device|Disk quota exceeded/.test(String(message))) return diskFull(directory, options);
  return new ConcordatError(
    "data_directory_refused",
    `The data directory ${directory} cannot be opened (${String(message)}): mend that, or set CONCORDAT_DATA_DIR to one that this user may write.`,
    options,
  );
}

/** The refusal to work on a disk without room. */
export function diskFull(directory: string, options?: ErrorOptions): ConcordatError {
  return new ConcordatError(
    "disk_full",
    `The disk of the data directory ${directory} is full: make room, or set CONCORDAT_DATA_DIR to another disk.`,
    options,
  );
}
