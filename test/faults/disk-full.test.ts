import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { skipSuite, suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

/** A small disk of its own takes a namespace in which this user may mount; it ends with the processes in it. */
const mayMount = spawnSync("unshare", ["-rm", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]).status === 0;
const test = mayMount ? suite("a full disk") : skipSuite("a full disk", "unshare and mount are not allowed here");

const program = join(import.meta.dirname, "..", "..", "src", "main.js");

/** Fills or empties the disk for each line read, until the input ends; the node runs beside, and ends with it. */
const script = `
mount -t tmpfs -o size=192m tmpfs "$1"
if [ "$3" = full ]; then head -c 300000000 /dev/zero > "$1/fill" 2>/dev/null; fi
"$4" "$2" serve 2>&1 & node=$!
if [ "$3" = full ]; then wait $node; exit $?; fi
while read -r step; do
  case $step in fill) head -c 300000000 /dev/zero > "$1/fill" 2>/dev/null;; free) rm "$1/fill";; esac
  echo "done $step"
done
kill $node; wait $node
`;

async function startOnSmallDisk(disk: string, state: "empty" | "full") {
  const listener = createServer().listen(0, "127.0.0.1");
  await once(listener, "listening");
  const origin = `http://127.0.0.1:${(listener.address() as AddressInfo).port}`;
  await new Promise((resolve) => listener.close(resolve));
  const command = ["-rm", "--kill-child", "-f", "sh", "-c", script, "sh", disk, program, state, process.execPath];
  const child = spawn("unshare", command, {
    cwd: tmpdir(),
    env: {
      PATH: process.env.PATH ?? "",
      CONCORDAT_ORIGIN: origin,
      CONCORDAT_LISTEN: new URL(origin).host,
      CONCORDAT_DATA_DIR: disk,
      CONCORDAT_ADMIN_PASSWORD: "not-a-secret-in-a-test",
    },
    stdio: ["pipe", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.on("data", (octets) => {
    output += String(octets);
  });
  const ended = once(child, "exit");
  return {
    output: () => output,
    ended,
    ready: async () => (await fetch(`${origin}/ready`)).status,
    async step(name: "fill" | "free") {
      child.stdin.write(`${name}\n`);
      await until(`${name} is done`, () => output.includes(`done ${name}`));
    },
    async stop() {
      child.stdin.end();
      await ended;
    },
  };
}

async function withDisk(run: (disk: string) => Promise<void>): Promise<void> {
  const disk = await mkdtemp(join(tmpdir(), "concordat-disk-"));
  try {
    await run(disk);
  } finally {
    await rm(disk, { recursive: true, force: true });
  }
}

test("is named at the start, with the directory", () =>
  withDisk(async (disk) => {
    const node = await startOnSmallDisk(disk, "full");
    const [status] = await node.ended;
    assert.is.not(status, 0);
    assert.match(node.output(), "disk_full");
    assert.match(node.output(), disk);
  }));

test("makes a node not ready until there is room again", () =>
  withDisk(async (disk) => {
    const node = await startOnSmallDisk(disk, "empty");
    try {
      await until("the node is ready", async () => (await node.ready()) === 200, 60_000);
      await node.step("fill");
      assert.is(await node.ready(), 503);
      await node.step("free");
      assert.is(await node.ready(), 200);
    } finally {
      await node.stop();
    }
  }));

test.run();
