import { mkdtemp, rm, stat } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { type Config, readConfig } from "../src/config.ts";
import { forgetFirstPassword } from "../src/first-password.ts";
import { readNode } from "../src/maintenance.ts";
import { createNode } from "../src/node.ts";
import { freePort } from "./harness/free-port.ts";
import { startNode } from "./harness/node.ts";
import { logIn } from "./harness/rest.ts";
import { suite } from "./harness/suite.ts";
import { until } from "./harness/until.ts";

const test = suite("a node's first start");

let dataDir: string;
test.before.each(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "concordat-first-"));
});
test.after.each(() => rm(dataDir, { recursive: true, force: true }));

const configFor = (port: number, directory = dataDir): Config =>
  readConfig(
    {
      CONCORDAT_ORIGIN: `http://127.0.0.1:${port}`,
      CONCORDAT_LISTEN: `127.0.0.1:${port}`,
      CONCORDAT_DATA_DIR: directory,
      CONCORDAT_LOG_LEVEL: "silent",
    },
    { cwd: dataDir },
  );

/** A port that is taken until `free` is called. */
async function takePort(): Promise<{ readonly port: number; free(): Promise<void> }> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  return { port, free: () => new Promise((resolve) => server.close(() => resolve())) };
}

test("that fails at its port has recorded nothing: the next one may be at another origin", async () => {
  const taken = await takePort();
  await assertRejects(createNode(configFor(taken.port)), "listen_in_use");
  const port = await freePort();
  const node = await createNode(configFor(port));
  try {
    assert.is(node.origin, `http://127.0.0.1:${port}`);
  } finally {
    await node.close();
    await taken.free();
  }
});

test("whose password nobody has read is followed by others that still have it", async () => {
  const config = configFor(await freePort());
  await (await createNode(config)).close();
  const node = await createNode(config);
  try {
    const path = join(dataDir, "admin-password");
    assert.is((await stat(path)).mode & 0o777, 0o600);
    const { firstPassword } = node;
    assert.ok(firstPassword);
    assert.ok((await logIn(node.origin, "admin", firstPassword)).token);
    await forgetFirstPassword(config);
    await assertRejects(stat(path), "ENOENT");
  } finally {
    await node.close();
  }
});

test("is what makes the keys: asking for those of a node that is not there makes none", async () => {
  const config = configFor(8000);
  await assertRejects(readNode(config), "node_missing");
  await assertRejects(stat(join(dataDir, "node-keys.json")), "ENOENT");
});

test("in a directory that no system makes is refused", async () => {
  await assertRejects(createNode(configFor(8000, "/proc/concordat/data")), "data_directory_refused");
});

const stopping = suite("a node that is told to stop");

stopping("says that it stops, and then that it has stopped", async () => {
  await using node = await startNode({ child: true });
  await node.stop();
  const said = () => node.log().match(/"msg":"the node (?:stops|has stopped)"/g) ?? [];
  await until("its last line", () => said().length === 2);
  assert.equal(said(), ['"msg":"the node stops"', '"msg":"the node has stopped"']);
  assert.match(node.log(), '"signal":"SIGTERM"');
});

async function assertRejects(promise: Promise<unknown>, code: string): Promise<void> {
  const error = await promise.then(
    () => null,
    (reason: { code?: unknown }) => reason,
  );
  assert.is(error?.code, code);
}

test.run();
stopping.run();
