import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";

/** All of it or nothing: a crash in the middle leaves no half file under the name. */
export async function writeWhole(path: string, text: string): Promise<void> {
  const unfinished = `${path}.new`;
  // What a start before this one left may be readable by others, and opening it would keep that.
  await rm(unfinished, { force: true });
  const file = await open(unfinished, "wx", 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(unfinished, path);
  // The name, too, must be on the disk before anything counts on it.
  const folder = await open(dirname(path), "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
