import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, sep } from "node:path";
import { equal, is, match } from "uvu/assert";
import { checkArchitecture, readImports, type Tree } from "./harness/architecture.ts";
import { suite } from "./harness/suite.ts";

const test = suite("architecture");
const root = join(import.meta.dirname, "..", "..");

async function readTree(): Promise<Tree> {
  const names = await readdir(join(root, "src"), { recursive: true });
  const files = names.filter((name) => /\.tsx?$/.test(name));
  return new Map(
    await Promise.all(
      files.map(
        async (name) =>
          [name.split(sep).join("/"), await readFile(join(root, "src", name), "utf8")] as [string, string],
      ),
    ),
  );
}

async function compile(project: string): Promise<{ code: number; output: string }> {
  const tsc = join(root, "node_modules", ".bin", "tsc");
  return new Promise((resolve) => {
    execFile(tsc, ["-p", project], { cwd: root }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), output: `${stdout}${stderr}` });
    });
  });
}

test("holds in src", async () => {
  const tree = await readTree();
  is(tree.has("errors.ts"), true);
  equal(checkArchitecture(tree), []);
});

test("reads imports of every form", () => {
  const text = [
    'import { a } from "./a.ts";',
    'import type { B } from "../b.ts";',
    "import {\n  c,\n  d,\n} from './c.ts';",
    'import "./side-effect.ts";',
    'export { e } from "./e.ts";',
    'const f = await import("./f.ts");',
    'type G = import("./g.ts").G;',
    '// import { no } from "./comment.ts";',
    'const text = "not an import from here";',
  ].join("\n");
  equal(readImports(text).sort(), ["../b.ts", "./a.ts", "./c.ts", "./e.ts", "./f.ts", "./g.ts", "./side-effect.ts"]);
});

const bad: readonly { what: string; tree: Record<string, string>; violation: RegExp }[] = [
  {
    what: "an import of a higher layer",
    tree: { "registry/projects.ts": 'import { a } from "../outbox/append.ts";' },
    violation: /registry\/projects\.ts: imports outbox\/append\.ts, but registry may not import outbox/,
  },
  {
    what: "an import of a sibling",
    tree: { "crypto/keys.ts": 'import { a } from "../storage/database.ts";' },
    violation: /crypto may not import storage/,
  },
  {
    what: "a dynamic import of a higher layer",
    tree: { "storage/database.ts": 'const node = await import("../node.ts");' },
    violation: /storage may not import node/,
  },
  {
    what: "a type import of a higher layer",
    tree: { "protocol/ids.ts": 'import type { A } from "../crypto/keys.ts";' },
    violation: /protocol may not import crypto/,
  },
  {
    what: "a client that reaches into the node",
    tree: { "sdk/client.ts": 'import { a } from "../registry/projects.ts";' },
    violation: /sdk may not import registry/,
  },
  {
    what: "a command other than serve that reaches into the node",
    tree: { "cli/admin.ts": 'import { a } from "../node.ts";' },
    violation: /cli may not import node/,
  },
  {
    what: "an error base that imports",
    tree: { "errors.ts": 'import { a } from "./version.ts";' },
    violation: /errors may not import version/,
  },
  {
    what: "a folder without a place",
    tree: { "utils/strings.ts": "export {};" },
    violation: /"utils" has no place in the layers/,
  },
  {
    what: "an import from outside of src",
    tree: { "node.ts": 'import { a } from "../test/run.ts";' },
    violation: /outside of src/,
  },
  {
    what: "a cycle inside of a folder",
    tree: { "inbox/a.ts": 'import { b } from "./b.ts";', "inbox/b.ts": 'export { a } from "./a.ts";' },
    violation: /cycle: inbox\/a\.ts -> inbox\/b\.ts -> inbox\/a\.ts/,
  },
  {
    what: "a Node import in a folder for browsers",
    tree: { "crypto/keys.ts": 'import { sign } from "node:crypto";' },
    violation: /crypto must run in a browser/,
  },
  {
    what: "process.env outside of config.ts",
    tree: { "outbox/lanes.ts": "const { HOME } = process.env;" },
    violation: /outbox\/lanes\.ts: reads process\.env/,
  },
  {
    what: "the environment by import",
    tree: { "outbox/lanes.ts": 'import { env } from "node:process";' },
    violation: /reads process\.env/,
  },
  {
    what: "a computed import",
    tree: { "http/app.ts": "await import(name);" },
    violation: /imports a computed name/,
  },
  {
    what: "an index file in the tree",
    tree: { "registry/index.ts": 'export { a } from "./projects.ts";' },
    violation: /registry\/index\.ts: is a barrel/,
  },
  {
    what: "a barrel under another name",
    tree: { "registry/all.ts": 'export * from "./projects.ts";' },
    violation: /registry\/all\.ts: is a barrel/,
  },
  {
    what: "a file that is too long",
    tree: { "registry/projects.ts": "export {};\n".repeat(500) },
    violation: /has 500 lines/,
  },
];

for (const { what, tree, violation } of bad) {
  test(`refuses ${what}`, () => {
    const violations = checkArchitecture(new Map(Object.entries(tree)));
    is(violations.length, 1, violations.join("\n"));
    match(violations[0] ?? "", violation);
  });
}

test("accepts downward imports, serve in the CLI, and an environment read in config.ts", () => {
  const tree = {
    "config.ts": 'import { ConcordatError } from "./errors.ts";\nconst { PATH } = process.env;',
    "cli/serve.ts": 'import { createNode } from "../node.ts";',
    "http/routes/projects.ts": 'import { submit } from "../../outbox/submit.ts";\nimport { body } from "../body.ts";',
    "sdk/index.ts": 'export * from "./client.ts";',
  };
  equal(checkArchitecture(new Map(Object.entries(tree))), []);
});

test("type-checks the browser folders without Node's types", async () => {
  const { code, output } = await compile(join(root, "tsconfig.browser.json"));
  is(code, 0, output);
});

test("sees a use of Node in a browser folder", async () => {
  const folder = await mkdtemp(join(tmpdir(), "concordat-browser-"));
  try {
    await writeFile(join(folder, "uses-buffer.ts"), 'export const octets = Buffer.from("a");\n');
    const project = { extends: join(root, "tsconfig.browser.json"), compilerOptions: { rootDir: "." }, include: ["."] };
    await writeFile(join(folder, "tsconfig.json"), JSON.stringify(project));
    const { code, output } = await compile(folder);
    is.not(code, 0, output);
    match(output, /Buffer/);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test.run();
