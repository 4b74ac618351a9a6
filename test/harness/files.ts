import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, sep } from "node:path";

/** One compiled test file, with what the runner must know before it starts it. */
export interface TestFile {
  /** Path below `test/`, of the source: `storage/database.test.ts`. */
  readonly name: string;
  readonly compiled: string;
  readonly group: string;
  readonly limitMilliseconds: number;
}

/** Time limit of a file by group, in seconds; whatever is not named here is a unit test. Long ones start first. */
const limits: Readonly<Record<string, number>> = {
  faults: 300,
  federation: 240,
  interop: 240,
  browser: 180,
  storage: 180,
  fuzz: 120,
  unit: 90,
};

const longLimit = 3600;

/** A file's own limit stands in its first line: `// time limit: 240 s`. */
const ownLimit = /^\/\/ time limit: (\d+) s$/;

/**
 * Finds test files that match one of the filters (a group, or a part of the path; none means all), the slow groups first.
 * Compiled files whose source is gone are left overs of an earlier build and are not run.
 */
export function findTestFiles(root: string, filters: readonly string[], long: boolean): TestFile[] {
  const found: TestFile[] = [];
  for (const entry of readdirSync(join(root, "test"), { recursive: true, encoding: "utf8" })) {
    const name = entry.split(sep).join("/");
    if (!name.endsWith(".test.ts") || name.endsWith(".long.test.ts") !== long) continue;
    const file = describeTestFile(root, name, long);
    if (filters.length === 0 || filters.some((part) => part === file.group || `test/${name}`.includes(part))) {
      found.push(file);
    }
  }
  const order = Object.keys(limits);
  return found.sort((a, b) => order.indexOf(a.group) - order.indexOf(b.group) || (a.name < b.name ? -1 : 1));
}

/** Describes one file by its path below `test/`; fixtures of the runner's own test are named so, whatever their ending. */
export function describeTestFile(root: string, name: string, long = false): TestFile {
  const folder = name.includes("/") ? (name.split("/")[0] ?? "") : "";
  const group = Object.hasOwn(limits, folder) ? folder : "unit";
  const firstLine = readFileSync(join(root, "test", name), "utf8").split("\n", 1)[0] ?? "";
  const seconds = Number(ownLimit.exec(firstLine)?.[1] ?? (long ? longLimit : limits[group]));
  const compiled = join(root, ".build", "test", name.replace(/\.ts$/, ".js"));
  if (!existsSync(compiled)) throw new Error(`${compiled} is missing: compile first (npm test does both)`);
  return { name, compiled, group, limitMilliseconds: seconds * 1000 };
}
