import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { readConfig } from "../src/config.ts";
import { exportNodeKeys, loadNodeKeys, makeNodeKeys } from "../src/identity/node-keys.ts";
import { suite } from "./harness/suite.ts";

/** What docker-compose.yml says of the node is what the program takes. */
const test = suite("docker-compose.yml");

const text = readFileSync(join(process.cwd(), "docker-compose.yml"), "utf8");
const folder = mkdtempSync(join(tmpdir(), "concordat-deployment-"));
test.after(() => rmSync(folder, { recursive: true }));

/** The settings that all processes share: lines of the one block that holds them. */
function sharedSettings(): Record<string, string> {
  const [, block = ""] = /^x-settings: &settings\n((?: {2}\S.*\n)+)/m.exec(text) ?? [];
  const lines = [...block.matchAll(/^ {2}(\w+): "?([^"\n]*)"?$/gm)];
  return Object.fromEntries(lines.map(([, name = "", value = ""]) => [name, value]));
}

/** As in a container: the variable of the shell, and each secret in a file of its own. */
function settingsIn(role: string, secrets: Readonly<Record<string, string>>): Record<string, string> {
  const settings = { ...sharedSettings(), CONCORDAT_ROLE: role };
  return Object.fromEntries(
    Object.entries(settings).map(([name, value]) => {
      if (value.startsWith("${CONCORDAT_ORIGIN")) return [name, "https://ouest.example"];
      const secret = /^\/run\/secrets\/(.*)$/.exec(value)?.[1];
      if (secret === undefined) return [name, value];
      const path = join(folder, secret);
      writeFileSync(path, secrets[secret] ?? "");
      return [name, path];
    }),
  );
}

test("has settings that fit together, for the web and for the worker processes", async () => {
  const keys = exportNodeKeys(await makeNodeKeys());
  const secrets = {
    "node-keys": `${keys}\n`,
    "database-url": "postgres://concordat:a-password@postgres/concordat",
    "admin-password": "0123456789abcdef01234567\n",
  };
  for (const role of ["web", "worker"]) {
    assert.match(text, new RegExp(`environment: \\{ <<: \\*settings, CONCORDAT_ROLE: ${role} \\}`));
    const config = readConfig(settingsIn(role, secrets), { cwd: folder });
    assert.is(config.role, role);
    assert.is(config.databaseUrl, secrets["database-url"]);
    assert.is(config.redisUrl, "redis://redis:6379");
    const loaded = await loadNodeKeys({ dataDir: folder, secret: config.nodeKeys, existing: true });
    assert.is(exportNodeKeys(loaded), keys);
  }
});

test("gives containers no secret that it does not declare, and no other setting than these", () => {
  const [, declared = ""] = /^secrets:\n((?: {2}\S.*\n)+)/m.exec(text) ?? [];
  const names = new Set([...declared.matchAll(/^ {2}([\w-]+):/gm)].map(([, name]) => name));
  const used = [...text.matchAll(/\/run\/secrets\/([\w-]+)|secrets: \[([^\]]*)\]/g)];
  const mentioned = used.flatMap(([, path, list]) => path ?? (list ?? "").split(/,\s*/));
  assert.equal([...new Set(mentioned)].sort(), [...names].sort());
  const settings = new Set([...text.matchAll(/^\s+(CONCORDAT_\w+):/gm)].map(([, name = ""]) => name));
  const shared = Object.keys(sharedSettings());
  assert.equal([...settings].sort(), shared.sort());
});

/** The lines of each service, those of the block that it takes over among them. */
function services(): ReadonlyMap<string, string> {
  const [, node = ""] = /^x-node: &node\n((?: {2}.*\n)+)/m.exec(text) ?? [];
  const [, block = ""] = /^services:\n((?:(?: {2}.*)?\n)+)/m.exec(text) ?? [];
  const found = block.matchAll(/^ {2}(\w+):\n((?: {4}.*\n)+)/gm);
  return new Map(
    [...found].map(([, name = "", lines = ""]) => {
      const own = lines.replaceAll(/^ {2}/gm, "");
      return [name, own.includes("<<: *node\n") ? node + own : own];
    }),
  );
}

test("has no service as root, with capabilities that it does not need, on a disk that it may write to, or unwatched", () => {
  const all = services();
  assert.equal([...all.keys()].sort(), ["postgres", "proxy", "redis", "web", "worker"]);
  const image = readFileSync(join(process.cwd(), "Dockerfile"), "utf8");
  const userOfImage = /^USER (.*)$/m.exec(image.slice(image.lastIndexOf("\nFROM ")))?.[1];
  for (const [name, lines] of all) {
    const user = lines.includes("  build: .\n") ? userOfImage : /^ {2}user: "?([^"\n]*)"?$/m.exec(lines)?.[1];
    assert.match(user ?? "", /^(?!root|0\b)./, `the user of ${name}`);
    for (const rule of [
      /^ {2}read_only: true$/m,
      /^ {2}cap_drop: \[ALL\]$/m,
      /^ {2}security_opt: \["no-new-privileges:true"\]$/m,
      /^ {2}healthcheck:\n {4}test:/m,
      /^ {2}restart: unless-stopped$/m,
    ]) {
      assert.match(lines, rule, name);
    }
    assert.is(/^ {2}cap_add:/m.test(lines), name === "proxy", `capabilities of ${name}`);
  }
});

test.run();
