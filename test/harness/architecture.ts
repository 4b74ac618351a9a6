import { posix } from "node:path";

/** Source files by their path below `src/`: `http/app.ts`. */
export type Tree = ReadonlyMap<string, string>;

/** What each part of the tree may import; whatever is not named is forbidden, so siblings and what lies above are. */
const lowest = ["errors", "version", "pace", "soon", "turns", "within"];
const l0 = ["protocol", "telemetry"];
const l1 = [...l0, "crypto", "signatures", "storage"];
const l2 = [...l1, "registry", "identity"];
const allowed: Readonly<Record<string, readonly string[]>> = {
  errors: [],
  version: [],
  pace: [],
  soon: [],
  turns: ["errors"],
  within: [],
  protocol: [],
  telemetry: [],
  crypto: l0,
  signatures: l0,
  storage: l0,
  registry: l1,
  identity: l1,
  outbox: l2,
  peering: [...l2, "outbox"],
  inbox: [...l2, "outbox", "peering"],
  http: [...l2, "outbox", "peering", "inbox"],
  config: l0,
  stores: [...l1, "config"],
  "data-directory": l1,
  "first-password": [...l2, "config"],
  maintenance: [...l2, "config", "data-directory", "first-password"],
  doctor: [...l2, "config"],
  upkeep: [...l2, "outbox"],
  node: [...l2, "outbox", "peering", "inbox", "http", "config", "stores", "data-directory", "first-password", "upkeep"],
  sdk: ["protocol", "crypto"],
  console: ["protocol", "crypto", "sdk"],
  cli: ["protocol", "crypto", "sdk", "config"],
  main: ["cli", "config", "node"],
};

/** Single files that may import more than their folder: commands on a node's machine, loaded only when they are called. */
const allowedFiles: Readonly<Record<string, readonly string[]>> = {
  "cli/serve.ts": ["node", "maintenance", "first-password"],
  "cli/doctor.ts": ["doctor"],
};

const browserSafe = new Set(["errors", "protocol", "crypto", "sdk", "console"]);

/** Longer files have more than one reason to change; the tables, one list, are the longest. */
const mostLines = 480;

/** Checks a tree against the layers and the rules for files; gives one sentence per violation. */
export function checkArchitecture(tree: Tree): string[] {
  const graph = new Map([...tree].map(([file, text]) => [file, readImports(text)]));
  return [
    ...[...graph].flatMap(([file, imports]) => checkLayer(file, imports)),
    ...findCycles(graph).map((cycle) => `cycle: ${cycle.join(" -> ")}`),
    ...[...tree].flatMap(([file, text]) => [...checkFile(file, text)]),
  ];
}

const importForms = [
  /^\s*(?:import|export)\b[^"';]*?\bfrom\s*["']([^"']+)["']/gm,
  /^\s*import\s*["']([^"']+)["']/gm,
  /\b(?:import|require)\s*\(\s*["'`]([^"'`]+)["'`]/g,
];

/** Reads what a file imports: static, dynamic, types, and re-exports. */
export function readImports(text: string): string[] {
  return importForms.flatMap((form) => [...text.matchAll(form)].map((match) => match[1] ?? ""));
}

function checkLayer(file: string, imports: readonly string[]): string[] {
  const part = partOf(file);
  const may = allowed[part];
  if (may === undefined) return [`${file}: "${part}" has no place in the layers`];
  const permitted = new Set([part, ...(lowest.includes(part) ? [] : lowest), ...may, ...(allowedFiles[file] ?? [])]);
  return imports.flatMap((specifier) => {
    if (!specifier.startsWith(".")) {
      const usesNode = specifier.startsWith("node:") && browserSafe.has(part);
      return usesNode ? [`${file}: imports ${specifier}, but ${part} must run in a browser`] : [];
    }
    const target = resolveImport(file, specifier);
    if (target.startsWith("../")) return [`${file}: imports ${specifier}, outside of src`];
    if (permitted.has(partOf(target))) return [];
    return [`${file}: imports ${target}, but ${part} may not import ${partOf(target)}`];
  });
}

/** The folder of a file, or its own name where it stands directly in `src/`. */
function partOf(file: string): string {
  return file.split("/")[0]?.replace(/\.ts$/, "") ?? "";
}

function resolveImport(file: string, specifier: string): string {
  return posix.join(posix.dirname(file), specifier);
}

/** Finds import cycles between files, each once, types included. */
function findCycles(graph: ReadonlyMap<string, readonly string[]>): string[][] {
  const cycles: string[][] = [];
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (file: string) => {
    const at = path.indexOf(file);
    if (at >= 0) cycles.push([...path.slice(at), file]);
    if (at >= 0 || done.has(file)) return;
    path.push(file);
    for (const specifier of graph.get(file) ?? []) if (specifier.startsWith(".")) visit(resolveImport(file, specifier));
    path.pop();
    done.add(file);
  };
  for (const file of graph.keys()) visit(file);
  return cycles;
}

const environmentForms = [
  /\bprocess\s*\??\.\s*env\b/,
  /\bprocess\s*\[\s*["']env["']/,
  /\{[^}]*\benv\b[^}]*\}\s*=\s*process\b/,
  /\bimport\b[^"';]*\benv\b[^"';]*\bfrom\s*["'](?:node:)?process["']/,
];

function* checkFile(file: string, text: string): Generator<string> {
  const code = text.replace(/^\s*(?:\/\/|\*|\/\*).*$/gm, "");
  if (file !== "config.ts" && environmentForms.some((form) => form.test(code))) {
    yield `${file}: reads process.env; only config.ts does`;
  }
  if (/\b(?:import|require)\s*\(\s*(?!["'`)])/.test(code)) {
    yield `${file}: imports a computed name, which no check can follow`;
  }
  const barrel = file.endsWith("index.ts") || /^\s*export\s*\*/m.test(code);
  if (barrel && file !== "sdk/index.ts") yield `${file}: is a barrel; only sdk/index.ts may be one`;
  const lines = text.split("\n").length - 1;
  if (lines > mostLines) yield `${file}: has ${lines} lines, more than ${mostLines}; split it by reason to change`;
}
