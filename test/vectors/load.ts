/** Reads the vectors of Concordat's formats: defaults merged, `from` and `edit` applied (README.md beside them). */
import { readFileSync } from "node:fs";
import { join } from "node:path";

export type Json = { [member: string]: unknown };

export interface VectorCase extends Json {
  name: string;
  expect: "accept" | "refuse";
  reason?: string;
  also?: string[];
  assumes?: string[];
}

interface Operation {
  op: "add" | "replace" | "remove" | "write";
  path: string;
  value?: unknown;
  at?: number;
  end?: boolean;
}

/** The members that an edit may speak of, in the order in which a case is searched for them. */
const subjects = ["request", "membership", "receipt", "object", "bundle"] as const;

/**
 * The file `concordat/<name>.json` and its cases ready to be judged. In `envelope` each case's `object` is the whole
 * object with `hf:sealed`; in `key-bundles` each case's `bundle` is the bundle itself.
 */
export function loadVectors(name: string): { file: Json; cases: VectorCase[] } {
  const file = readVectorFile(`concordat/${name}.json`);
  const defaults = (file.defaults ?? {}) as Json;
  const raw = new Map((file.cases as VectorCase[]).map((item) => [item.name, item]));
  const subject = subjectOf(name);
  const resolved = new Map<string, unknown>();

  const subjectValue = (item: VectorCase): unknown => {
    const known = resolved.get(item.name);
    if (known !== undefined) return structuredClone(known);
    let value: unknown;
    const from = typeof item.from === "string" ? raw.get(item.from) : undefined;
    if (from !== undefined) value = subjectValue(from);
    else if (subject !== undefined) value = structuredClone(ownSubject(name, file, { ...defaults, ...item }, subject));
    for (const operation of (item.edit ?? []) as Operation[]) value = applyOperation(value, operation);
    resolved.set(item.name, value);
    return structuredClone(value);
  };

  const cases = [...raw.values()].map((item) => {
    const merged: VectorCase = { ...structuredClone(defaults), ...structuredClone(item) };
    const value = subjectValue(item);
    if (subject !== undefined && value !== undefined) merged[subject] = value;
    return merged;
  });
  return { file, cases };
}

/** A vector file as it stands, by its path under `test/vectors`. */
export function readVectorFile(path: string): Json {
  return JSON.parse(readFileSync(join(process.cwd(), "test/vectors", path), "utf8")) as Json;
}

function subjectOf(name: string): (typeof subjects)[number] | undefined {
  if (name === "signatures") return "request";
  if (name === "membership") return "membership";
  if (name === "receipts" || name === "read-receipts") return "receipt";
  if (name === "envelope") return "object";
  return name === "key-bundles" ? "bundle" : undefined;
}

function ownSubject(name: string, file: Json, item: Json, subject: string): unknown {
  if (name === "envelope") {
    const object = (file.objects as Record<string, Json>)[item.object as string];
    return item.sealed === undefined ? object : { ...object, "hf:sealed": item.sealed };
  }
  if (name === "key-bundles" && typeof item.bundle === "string") return (file.bundles as Json)[item.bundle];
  return item[subject];
}

function applyOperation(document: unknown, operation: Operation): unknown {
  const path = operation.path
    .split("/")
    .slice(1)
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
  const last = path.pop();
  if (last === undefined) return operation.op === "write" ? write(document as string, operation) : operation.value;
  let parent = document as Json | unknown[];
  for (const part of path) parent = (parent as Json)[part] as Json | unknown[];
  if (Array.isArray(parent)) {
    const index = last === "-" ? parent.length : Number(last);
    if (operation.op === "add") parent.splice(index, 0, operation.value);
    else if (operation.op === "remove") parent.splice(index, 1);
    else parent[index] = operation.op === "write" ? write(parent[index] as string, operation) : operation.value;
  } else if (operation.op === "remove") delete parent[last];
  else parent[last] = operation.op === "write" ? write(parent[last] as string, operation) : operation.value;
  return document;
}

function write(text: string, { at = 0, value, end }: Operation): string {
  const inserted = value as string;
  return text.slice(0, at) + inserted + (end === true ? "" : text.slice(at + inserted.length));
}
