/** Searches files octet by octet for texts, as they are and inside of base64 and base64url. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

export interface SearchReport {
  readonly files: number;
  readonly octets: number;
  /** `text in file` for everything that was found. */
  readonly found: readonly string[];
}

/** Every file below `directories`; files that a running node removes meanwhile are passed over. */
export async function searchFiles(directories: readonly string[], texts: readonly string[]): Promise<SearchReport> {
  const needles = texts.flatMap((text) => formsOf(text).map((form) => ({ text, form })));
  let files = 0;
  let octets = 0;
  const found: string[] = [];
  for (const directory of directories) {
    for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const path = join(entry.parentPath, entry.name);
      const content = await readFile(path).catch(ignoreAbsent);
      if (content === null) continue;
      files += 1;
      octets += content.length;
      const here = new Set(needles.filter(({ form }) => content.includes(form)).map(({ text }) => text));
      for (const text of here) found.push(`${text} in ${path}`);
    }
  }
  return { files, octets, found };
}

/** The octets of a text, and what they become in base64 at each of the three positions of a group. */
function formsOf(text: string): readonly Buffer[] {
  const octets = Buffer.from(text, "utf8");
  const encoded = [0, 1, 2].flatMap((offset) => {
    const padded = Buffer.concat([Buffer.alloc(offset), octets]).toString("base64");
    // The first and the last group hold bits of what stands beside the text.
    const inner = padded.slice(offset === 0 ? 0 : 4, -4);
    return [inner, inner.replaceAll("+", "-").replaceAll("/", "_")];
  });
  return [octets, ...new Set(encoded)].map((form) => Buffer.from(form));
}

function ignoreAbsent(error: NodeJS.ErrnoException): null {
  if (error.code === "ENOENT") return null;
  throw error;
}
