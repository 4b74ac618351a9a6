import { chmod } from "node:fs/promises";
import { ConcordatError } from "./errors.ts";
import { makeDirectory } from "./storage/make-directory.ts";

/** The data directory, for the node's user alone. @throws {ConcordatError} `data_directory_refused` */
export async function prepareDataDir(dataDir: string): Promise<void> {
  try {
    await makeDirectory(dataDir);
    await chmod(dataDir, 0o700);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new ConcordatError(
      "data_directory_refused",
      `The data directory ${dataDir} cannot be made or protected (${code}); set CONCORDAT_DATA_DIR to one that this user owns.`,
      { cause: error },
    );
  }
}
