import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Command } from "commander";
import * as assert from "uvu/assert";
import type { CliContext } from "../../src/cli/context.ts";
import { createProgram } from "../../src/cli/main.ts";
import { createOutput } from "../../src/cli/output.ts";
import { hasOwnVault, levelStore, openOrCreateVault } from "../../src/cli/vault-access.ts";
import { projectFileSchema } from "../../src/sdk/project-file.ts";
import { suite } from "../harness/suite.ts";
import { run, surroundingsOf } from "./terminal.ts";

const test = suite("the command line");

async function withDirectory(use: (directory: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "concordat-cli-"));
  try {
    await use(directory);
  } finally {
    await rm(directory, { recursive: true });
  }
}

const settingsIn = (directory: string) => () => ({ vaultDir: directory, adminDir: directory });

test("shows help and ends with 0", async () => {
  const { code, out, err } = await run(["--help"]);
  assert.is(code, 0);
  assert.match(out, "projects");
  assert.is(err, "");
});

/** Every command there is, by asking each, and each group, for its help; `see` is shown all of it. */
async function commandsBelow(
  path: readonly string[],
  see: (help: string) => void = () => {},
): Promise<readonly (readonly string[])[]> {
  const { code, out } = await run([...path, "--help"]);
  assert.is(code, 0, path.join(" "));
  see(out);
  const section = out.split("\nCommands:\n")[1];
  if (section === undefined) return [path];
  const names = [...section.matchAll(/^ {2}([a-z][a-z-]*)/gm)]
    .map(([, name]) => String(name))
    .filter((name) => name !== "help");
  return (await Promise.all(names.map((name) => commandsBelow([...path, name], see)))).flat();
}

test("offers --help and --json at every command", async () => {
  const commands = await commandsBelow([]);
  assert.ok(commands.length > 30, `only ${commands.length} were found`);
  for (const path of commands) {
    const { out } = await run([...path, "--help"]);
    assert.match(out, "--json", path.join(" "));
  }
});

test("describes every command, argument and option", () => {
  const bare: string[] = [];
  const visit = (command: Command, path: string) => {
    const parts: readonly (readonly [string, string])[] = [
      [path, command.description()],
      ...command.registeredArguments.map((argument) => [`${path} <${argument.name()}>`, argument.description] as const),
      ...command.options.map((option) => [`${path} ${option.long}`, option.description] as const),
    ];
    bare.push(...parts.filter(([, description]) => description === "").map(([name]) => name));
    for (const child of command.commands) visit(child, `${path} ${child.name()}`);
  };
  visit(createProgram(surroundingsOf({}, { out: "", err: "" })), "concordat");
  assert.equal(bare, []);
});

test("keeps its help within 80 columns", async () => {
  const wide: string[] = [];
  await commandsBelow([], (help) => void wide.push(...help.split("\n").filter((line) => line.length > 80)));
  assert.equal(wide, []);
});

test("tells which members the file of a project needs, and which it may have", async () => {
  const { out } = await run(["projects", "create", "--help"]);
  const [, needed = "", optional = ""] = /JSON:(.*)optionally(.*?)-h, --help/s.exec(out) ?? [];
  for (const [name, member] of Object.entries(projectFileSchema.shape)) {
    assert.match(member.safeParse(undefined).success ? optional : needed, new RegExp(`\\b${name}\\b`));
  }
});

test("ends with 2 on wrong usage and suggests what was meant", async () => {
  const { code, err } = await run(["projcts", "list"]);
  assert.is(code, 2);
  assert.match(err, "error usage: unknown command 'projcts'");
  assert.match(err, "projects");
});

test("shows its help alone when it is given nothing", async () => {
  const { code, out, err } = await run([]);
  assert.is(code, 2);
  assert.is(out, "");
  assert.is(err, (await run(["--help"])).out);
  const forScripts = await run(["--json"]);
  assert.is(forScripts.code, 2);
  assert.is(JSON.parse(forScripts.err).code, "usage");
});

test("suggests an option, too", async () => {
  const { code, err } = await run(["projects", "list", "--jsn"]);
  assert.is(code, 2);
  assert.match(err, "--json");
});

test("reports wrong usage as one JSON object with --json", async () => {
  const { code, out, err } = await run(["admin", "peers", "request", "not an origin", "--json"]);
  assert.is(code, 2);
  assert.is(out, "");
  const report = JSON.parse(err);
  assert.is(report.code, "usage");
  assert.match(report.message, "must be an origin");
});

for (const [what, argv] of [
  ["a missing argument", ["admin", "platforms", "create"]],
  ["a missing option", ["join", "https://ouest.example"]],
  ["a group without a command", ["admin", "peers"]],
  ["a date that does not exist", ["projects", "share", "CODE", "hcl@lyon.example", "--until", "2026-02-30"]],
  ["an address without a host", ["projects", "share", "CODE", "hcl"]],
  ["a right that does not exist", ["admin", "platforms", "create", "X", "--rights", "projects:read,everything"]],
  ["a fingerprint that is none", ["admin", "peers", "approve", "https://lyon.example", "--fingerprint", "…"]],
  ["a state that does not exist", ["admin", "deliveries", "list", "--state", "lost"]],
  ["an origin with a path", ["admin", "login", "https://ouest.example/api"]],
] as const) {
  test(`calls ${what} wrong usage`, async () => {
    const { code, out } = await run([...argv, "--json"]);
    assert.is(code, 2);
    assert.is(out, "");
  });
}

test("tells a group without a command what it lacks, and where wrong usage is explained", async () => {
  const group = await run(["admin", "peers"]);
  assert.match(group.err, "error usage: name one of its commands");
  for (const argv of [["admin", "peers"], ["projcts"], ["admin", "platforms", "create"]]) {
    assert.match((await run(argv)).err, /concordat[a-z ]* --help tells more/);
  }
});

test("takes --json before the command and between its parts, too", () =>
  withDirectory(async (directory) => {
    const settings = settingsIn(join(directory, "nowhere"));
    for (const argv of [
      ["--json", "projects", "list"],
      ["projects", "--json", "list"],
    ]) {
      const { code, err } = await run(argv, { settings });
      assert.is(code, 1, err);
      assert.is(JSON.parse(err).code, "vault_missing");
    }
  }));

test("says that the vault's directory cannot be used, naming its setting", () =>
  withDirectory(async (directory) => {
    const file = join(directory, "file");
    await writeFile(file, "");
    const store = levelStore(join(file, "vault"));
    const error = await store().then(
      () => undefined,
      (thrown) => thrown,
    );
    assert.is(error?.code, "unwritable_directory");
    assert.match(error.message, "CONCORDAT_VAULT");
  }));

test("says what to do where there is no vault, without making one", () =>
  withDirectory(async (directory) => {
    const settings = settingsIn(join(directory, "nowhere"));
    const { code, err } = await run(["projects", "list", "--json"], { settings });
    assert.is(code, 1);
    assert.is(JSON.parse(err).code, "vault_missing");
  }));

test("asks for a new passphrase with the rule that it is judged by", () =>
  withDirectory(async (directory) => {
    const surroundings = surroundingsOf({ answers: ["only eleven"] }, { out: "", err: "" });
    const questions: string[] = [];
    const context: CliContext = {
      ...surroundings,
      ...settingsIn(directory)(),
      passphrase: undefined,
      output: createOutput(surroundings.terminal, false),
      prompt: {
        ...surroundings.prompt,
        secret: (question, instead) => {
          questions.push(question);
          return surroundings.prompt.secret(question, instead);
        },
      },
    };
    const error = await openOrCreateVault(context).then(
      () => undefined,
      (thrown) => thrown,
    );
    assert.is(error?.code, "weak_passphrase");
    assert.equal(questions, ["Passphrase for the new vault, 12 characters or more"]);
    assert.not(await hasOwnVault(context));
  }));

test("says what to do where the administrator has not logged in", () =>
  withDirectory(async (directory) => {
    const { code, err } = await run(["admin", "peers", "list"], { settings: settingsIn(directory) });
    assert.is(code, 1);
    assert.match(err, "error not_logged_in");
    assert.match(err, "concordat admin login ORIGIN");
  }));

test("names the file that cannot be read", () =>
  withDirectory(async (directory) => {
    const file = join(directory, "project.json");
    const argv = ["projects", "create", "--file", file, "--json"];
    const { code, err } = await run(argv, { settings: settingsIn(directory) });
    assert.is(code, 1);
    assert.is(JSON.parse(err).code, "unreadable_file");
    assert.is(JSON.parse(err).file, file);
  }));

test("never takes a password as an argument", async () => {
  const { code } = await run(["admin", "login", "https://ouest.example", "--password", "secret"]);
  assert.is(code, 2);
});

test("says that an instance does not answer", () =>
  withDirectory(async (directory) => {
    // Port 1 of loopback: nothing listens there.
    const argv = ["admin", "login", "http://127.0.0.1:1", "--json"];
    const { code, err } = await run(argv, { settings: settingsIn(directory), answers: ["a password"] });
    assert.is(code, 1);
    assert.is(JSON.parse(err).code, "instance_unreachable");
    assert.is(JSON.parse(err).origin, "http://127.0.0.1:1");
  }));

test.run();
