// time limit: 240 s
import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { freePort } from "../harness/free-port.ts";
import { suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

const test = suite("the commands of the README");

const root = join(import.meta.dirname, "..", "..", "..");
const program = join(import.meta.dirname, "..", "..", "src", "main.js");

interface Block {
  readonly terminal: string;
  /** Without the comments, which are in the language of the document. */
  readonly commands: string;
}

/** The blocks that say in which terminal they are typed, in order. */
async function blocksOf(file: string): Promise<readonly Block[]> {
  const text = await readFile(join(root, file), "utf8");
  return [...text.matchAll(/^```sh\n# terminal (\d)[^\n]*\n(.*?)^```$/gms)].map(([, terminal = "", body = ""]) => ({
    terminal,
    commands: body.replace(/ +# .*$/gm, ""),
  }));
}

let directory: string;
const ports: Record<string, number> = {};
const nodes: ChildProcess[] = [];

test.before(async () => {
  directory = await mkdtemp(join(tmpdir(), "concordat-readme-"));
  await mkdir(join(directory, "home"));
  for (const port of ["8001", "8002"]) ports[port] = await freePort();
});
test.after(async () => {
  await Promise.all(nodes.map(end));
  await rm(directory, { recursive: true, maxRetries: 3 });
});

function end(node: ChildProcess): Promise<void> {
  if (node.pid === undefined || node.exitCode !== null) return Promise.resolve();
  const closed = new Promise<void>((resolve) => node.once("close", () => resolve()));
  process.kill(-node.pid, "SIGTERM");
  return closed;
}

/** What a terminal keeps from one block to the next. */
const kept: Record<string, string> = {};
/** What people read out to each other, by whose it is: a platform's handle, or the node ouest. */
const fingerprints = new Map<string, string>();

/** Whose fingerprint a command asks for. */
const wanted = (commands: string) => /keys verify ([a-z-]+)@/.exec(commands)?.[1] ?? "ouest";

/** What is typed, with this test's ports, places and program, and with files where a person would be asked. */
function adapted(commands: string): string {
  return commands
    .replace(/\b800[12]\b/g, (port) => String(ports[port]))
    .replaceAll("dist/main.js", program)
    .replaceAll("=data/", `=${directory}/`)
    .replaceAll('"…"', `"${fingerprints.get(wanted(commands)) ?? ""}"`)
    .replace(/admin login \S+/g, (login) => {
      const name = login.endsWith(String(ports["8001"])) ? "ouest" : "lyon";
      return `${login} --password-file ${join(directory, name, "admin-password")}`;
    });
}

function shell({ terminal, commands }: Block): ChildProcess {
  const script = `${kept[terminal] ?? ""}${adapted(commands)}`;
  const env = {
    PATH: process.env.PATH,
    HOME: join(directory, "home"),
    CONCORDAT_VAULT_PASSPHRASE: "a passphrase of the test",
  };
  return spawn("sh", ["-e", "-c", script], { cwd: root, env, detached: true, stdio: ["ignore", "pipe", "pipe"] });
}

/** A first start makes keys and database; on a busy machine it takes its time. */
const startMilliseconds = 60_000;

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function run(block: Block): Promise<Ended> {
  const child = shell(block);
  const written = { out: "", err: "" };
  child.stdout?.on("data", (chunk) => {
    written.out += chunk;
  });
  child.stderr?.on("data", (chunk) => {
    written.err += chunk;
  });
  return new Promise((resolve) => child.once("close", (code) => resolve({ code, ...written })));
}

async function serve(block: Block): Promise<void> {
  const child = shell(block);
  nodes.push(child);
  let log = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on("data", (chunk) => {
      log += chunk;
    });
  }
  const origin = adapted(/CONCORDAT_ORIGIN=(\S+)/.exec(block.commands)?.[1] ?? "");
  await until(
    `${origin} is ready`,
    async () => {
      if (child.exitCode !== null) throw new Error(`the node ended: ${log}`);
      return (await fetch(`${origin}/ready`).catch(() => null))?.ok === true;
    },
    startMilliseconds,
  );
}

/** Commands that wait for the other side: a person repeats them when they were too early. */
const waiting = /peers open|keys verify|projects show/;

async function play(block: Block): Promise<string> {
  if (block.commands.includes(" serve\n")) {
    await serve(block);
    return "";
  }
  let ended = await run(block);
  if (waiting.test(block.commands)) {
    // A failure is told below, with what the command said.
    await until("the other side has answered", async () => {
      if (ended.code !== 0) ended = await run(block);
      return ended.code === 0;
    }).catch(() => undefined);
  }
  assert.is(ended.code, 0, `${block.commands}\n${ended.out}${ended.err}`);
  kept[block.terminal] =
    (kept[block.terminal] ?? "") + (block.commands.match(/^(?:alias|export) .*\n/gm) ?? []).map(adapted).join("");
  const shown = /^fingerprint +([0-9a-f]{4}(?: [0-9a-f]{4})+)$/m.exec(ended.out)?.[1];
  // What a peer is asked for is the other node's; what `open` and `keys show` say is read out.
  if (shown !== undefined && block.commands.includes("peers open")) fingerprints.set("ouest", shown);
  const joined = /join .*--handle (\S+)/.exec(block.commands)?.[1];
  if (shown !== undefined && joined !== undefined) fingerprints.set(joined, shown);
  return ended.out;
}

test("are the same in both languages", async () => {
  const blocks = await blocksOf("README.md");
  assert.ok(blocks.length > 8, "too few blocks were found");
  assert.equal(await blocksOf("README.fr.md"), blocks);
});

test("lead from nothing to a project that is opened on the other node, and by another platform of its own", async () => {
  const shown: string[] = [];
  const readers = new Set<string>();
  for (const block of await blocksOf("README.md")) {
    const text = await play(block);
    shown.push(text);
    if (!text.includes("sealed part")) continue;
    assert.match(text, "NCT02990195");
    assert.match(text, "Jane Invented");
    readers.add(block.terminal);
  }
  assert.equal([...readers], ["4", "5"]);
  assert.match(shown.at(-1) ?? "", "applied");
});

test.run();
