import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { suite } from "../harness/suite.ts";
import { run } from "./terminal.ts";

const test = suite("files that commands read");

/** What `command` says of a file that holds `value`: as it is printed, and as its JSON form. */
async function faultsOf(command: readonly string[], value: unknown) {
  const directory = await mkdtemp(join(tmpdir(), "concordat-file-"));
  try {
    const file = join(directory, "file.json");
    await writeFile(file, JSON.stringify(value));
    const argv = [...command, file];
    const settings = () => ({ vaultDir: directory, adminDir: directory });
    const { err: printed } = await run(argv, { settings });
    const { code, errors } = JSON.parse((await run([...argv, "--json"], { settings })).err);
    assert.is(code, "invalid_file");
    for (const { path, message } of errors) assert.match(printed, `  ${path === "" ? "" : `${path}: `}${message}\n`);
    return errors;
  } finally {
    await rm(directory, { recursive: true });
  }
}

const create = ["projects", "create", "--file"];
const edit = ["projects", "edit", "CODE", "--file"];

for (const [what, command, value, path, message] of [
  ["a missing sealed part", create, { code: "A" }, "sealed", "is missing: use {} when nothing is confidential"],
  [
    "a sealed part that is none",
    edit,
    { sealed: "secret" },
    "sealed",
    "must be an object: use {} when nothing is confidential",
  ],
  ["a missing text", create, { sealed: {} }, "code", "is missing: it must be a text"],
  ["a text that is none", edit, { name: 7 }, "name", "must be a text"],
  ["an empty text", edit, { name: "" }, "name", "must not be empty"],
  ["a long text", edit, { code: "A".repeat(201) }, "code", "must have at most 200 characters"],
  ["an unknown word", edit, { status: "done" }, "status", "must be one of draft, active, suspended, closed"],
  [
    "a day that does not exist",
    edit,
    { end_date: "2026-02-30" },
    "end_date",
    "must be a day that exists, such as 2026-12-31",
  ],
  ["a list that is none", edit, { entities: "HCL" }, "entities", "must be a list in [ ]"],
  ["another file", create, [], "", "must be an object in { }"],
  [
    "an entity without a name",
    edit,
    { entities: ["HCL", { ror: "https://ror.org/01502ca60" }] },
    "entities.1",
    "must be the name of an entity, or {name, type?, ror?, finess?}",
  ],
  [
    "a framework's URL that is none",
    edit,
    { frameworks: [{ kind: "mr-004", name: "MR-004", url: "cnil" }] },
    "frameworks.0.url",
    "must be a URL such as https://www.cnil.fr/",
  ],
  [
    "a framework's unknown member",
    edit,
    { frameworks: [{ kind: "mr-004", name: "MR-004", validFrom: "2026-01-01" }] },
    "frameworks.0.validFrom",
    "is not known here: a framework has {kind, name, url?, reference?, valid_from?, valid_until?}",
  ],
] as const) {
  test(`explains ${what}`, async () => {
    assert.equal(await faultsOf(command, value), [{ path, message }]);
  });
}

test("says of each unknown member of a project that it belongs into the sealed part", async () => {
  const message = `is no member in clear: those are code, name, status, start_date, end_date, entities, frameworks; anything else belongs into "sealed"`;
  for (const [command, value] of [
    [create, { code: "A", sealed: {}, description: "secret", members: [] }],
    [edit, { description: "secret", members: [] }],
  ] as const) {
    assert.equal(await faultsOf(command, value), [
      { path: "description", message },
      { path: "members", message },
    ]);
  }
});

test("explains a missing choice in a list of records", async () => {
  const [fault] = await faultsOf(["admin", "frameworks", "import"], [{ name: "MR-004" }]);
  assert.is(fault.path, "0.kind");
  assert.match(fault.message, "is missing: it must be one of mr-001, mr-002");
});

test.run();
