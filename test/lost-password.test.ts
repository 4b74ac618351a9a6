import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { readConfig } from "../src/config.ts";
import { resetPassword } from "../src/maintenance.ts";
import { createNode } from "../src/node.ts";
import { freePort } from "./harness/free-port.ts";
import { startNode } from "./harness/node.ts";
import { createRest, logIn } from "./harness/rest.ts";
import { freshDatabaseUrl, noPostgres } from "./harness/servers.ts";
import { skipSuite, suite } from "./harness/suite.ts";

/** The way back for an administrator whose password is lost, on the node's machine. */
const embedded = suite("a lost password of a node with embedded stores");

embedded("is replaced while the node is stopped, and the one that nobody has read goes", async () => {
  const dataDir = await mkdtemp(join(tmpdir(), "concordat-lost-"));
  const port = await freePort();
  const config = readConfig(
    {
      CONCORDAT_ORIGIN: `http://127.0.0.1:${port}`,
      CONCORDAT_LISTEN: `127.0.0.1:${port}`,
      CONCORDAT_DATA_DIR: dataDir,
      CONCORDAT_LOG_LEVEL: "silent",
    },
    { cwd: dataDir },
  );
  try {
    assert.is((await rejection(resetPassword(config, "admin"))).code, "database_missing");
    const first = await createNode(config);
    const running = await rejection(resetPassword(config, "admin")).finally(() => first.close());
    assert.is(running.code, "data_directory_in_use");
    assert.match(running.message, /stop the node/i);

    const { password } = await resetPassword(config, "admin");
    const again = await createNode(config);
    try {
      assert.is(again.firstPassword, null);
      assert.is((await rejection(stat(join(dataDir, "admin-password")))).code, "ENOENT");
      assert.ok((await logIn(again.origin, "admin", password)).token);
      const old = { username: "admin", password: first.firstPassword };
      assert.is((await createRest(again.origin).call("POST", "/auth/login", old)).status, 401);
    } finally {
      await again.close();
    }
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
});

const hasPostgres = (await freshDatabaseUrl()) !== undefined;
const shared = (hasPostgres ? suite : (name: string) => skipSuite(name, noPostgres))(
  "a lost password of a node on PostgreSQL",
);

shared("is replaced while the node runs: who was logged in is out, and the journal has it", async () => {
  await using node = await startNode({ store: "postgres" });
  const lockedOut = { username: "admin", password: "guessed" };
  const guesses = Array.from({ length: 10 }, () => createRest(node.origin).call("POST", "/auth/login", lockedOut));
  await Promise.all(guesses);
  assert.not.match(JSON.stringify(await node.query("select subject from login_failures")), "admin");
  await node.query("delete from login_failures where subject like 'address:%'");

  const reset = JSON.parse(await node.command("admin", "reset-password", "--json"));
  assert.is(reset.username, "admin");
  assert.is((await node.admin.call("GET", "/peers")).status, 401);
  const admin = await logIn(node.origin, "admin", reset.password);
  const [entry] = (await admin.list("/audit")).filter(({ action }) => action === "administrator.password_reset");
  assert.is(entry?.object, "admin");
  assert.is(entry?.actor, "node");
  assert.is(JSON.stringify(await node.dump()).includes(reset.password), false);

  const refused = await rejection(node.command("admin", "reset-password", "nobody"));
  assert.match(refused.message, /not_found/);
  assert.match(refused.message, /admin/);
  assert.is((await admin.call("GET", "/peers")).status, 200);
});

async function rejection(promise: Promise<unknown>): Promise<{ readonly code?: unknown; readonly message: string }> {
  return await promise.then(
    () => assert.unreachable("it was not refused") as never,
    (error) => error,
  );
}

embedded.run();
shared.run();
