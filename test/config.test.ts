import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { parseEnv } from "node:util";
import * as assert from "uvu/assert";
import { ConfigError, readCliConfig, readConfig, settingNames } from "../src/config.ts";
import { suite } from "./harness/suite.ts";

const test = suite("settings");

let root = "";
/** A working directory without a `.env`. */
let cwd = "";
test.before(() => {
  root = mkdtempSync(join(tmpdir(), "concordat-config-"));
  cwd = join(root, "bare");
  mkdirSync(cwd);
});
test.after(() => rmSync(root, { recursive: true }));

type Variables = Readonly<Record<string, string>>;

/** Settings by their names without the prefix. */
const read = (settings: Variables) => readConfig(prefixed(settings), { cwd });
const prefixed = (settings: Variables) =>
  Object.fromEntries(Object.entries(settings).map(([name, value]) => [`CONCORDAT_${name}`, value]));

function refusalOf(act: () => unknown): ConfigError {
  try {
    act();
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error("the settings were accepted");
}

/** Asserts that the settings are refused and that the error names the setting, as a member and in its text. */
function assertRefused(settings: Variables, setting: string, says?: RegExp): void {
  const error = refusalOf(() => read(settings));
  const shown = JSON.stringify(settings);
  assert.is(error.code, "setting_refused", shown);
  assert.is(error.setting, `CONCORDAT_${setting}`, shown);
  assert.ok(error.message.startsWith(`CONCORDAT_${setting} `), error.message);
  if (says) assert.match(error.message, says);
}

function writeIn(name: string, text: string): string {
  const path = join(root, name);
  writeFileSync(path, text);
  return path;
}

test("has the documented defaults when nothing is set", () => {
  assert.equal(read({}), {
    origin: "http://localhost:8000",
    listen: { host: "127.0.0.1", port: 8000 },
    dataDir: join(cwd, "data"),
    redisPrefix: "concordat:http://localhost:8000:",
    role: "all",
    allowPrivateAddresses: false,
    allowNetworks: [],
    trustProxy: [],
    corsOrigins: [],
    accessKeyDays: 365,
    activityRetentionDays: 90,
    logLevel: "info",
    clockSkewSeconds: 300,
    deliveryRetryBaseMs: 30_000,
    deliveryRetryCapMs: 28_800_000,
  });
});

test("reads every setting that this version has", () => {
  const config = read({
    ORIGIN: "https://lyon.example:8443",
    LISTEN: "[::1]:0",
    DATA_DIR: "/var/lib/concordat",
    NODE_KEYS: "{}",
    DATABASE_URL: "postgresql://node@db/concordat",
    REDIS_URL: "rediss://cache:6380",
    REDIS_PREFIX: "lyon:",
    ROLE: "web",
    ADMIN_PASSWORD: "correct horse",
    ALLOW_PRIVATE_ADDRESSES: "true",
    ALLOW_NETWORKS: "10.8.0.0/16, fd00::/8,",
    HTTPS_PROXY: "http://proxy.example:3128",
    TRUST_PROXY: "127.0.0.1/32",
    CORS_ORIGINS: "https://console.example,http://localhost:3000",
    ACCESS_KEY_DAYS: "30",
    ACTIVITY_RETENTION_DAYS: "7",
    LOG_LEVEL: "silent",
    CLOCK_SKEW_SECONDS: "60",
    DELIVERY_RETRY_BASE_MS: "5",
    DELIVERY_RETRY_CAP_MS: "5",
  });
  assert.equal(config, {
    origin: "https://lyon.example:8443",
    listen: { host: "::1", port: 0 },
    dataDir: "/var/lib/concordat",
    nodeKeys: "{}",
    databaseUrl: "postgresql://node@db/concordat",
    redisUrl: "rediss://cache:6380",
    redisPrefix: "lyon:",
    role: "web",
    adminPassword: "correct horse",
    allowPrivateAddresses: true,
    allowNetworks: ["10.8.0.0/16", "fd00::/8"],
    httpsProxy: "http://proxy.example:3128",
    trustProxy: ["127.0.0.1/32"],
    corsOrigins: ["https://console.example", "http://localhost:3000"],
    accessKeyDays: 30,
    activityRetentionDays: 7,
    logLevel: "silent",
    clockSkewSeconds: 60,
    deliveryRetryBaseMs: 5,
    deliveryRetryCapMs: 5,
  });
});

const malformed: Readonly<Record<string, readonly string[]>> = {
  ORIGIN: ["lyon.example", "https://lyon.example/", "https://LYON.example", "https://lyon.example:443", "ftp://a.b"],
  LISTEN: ["8000", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "::1:8000", "[::1]"],
  ROLE: ["both", "Web"],
  REDIS_URL: ["http://localhost", "localhost:6379"],
  DATABASE_URL: ["mysql://localhost/a", "localhost:5432"],
  ADMIN_PASSWORD: ["short", "123456789", "Administrator"],
  ALLOW_PRIVATE_ADDRESSES: ["yes", "1", "TRUE"],
  ALLOW_NETWORKS: ["10.8.0.0", "10.8.0.0/16,lyon.example", "10.8.0.0/33"],
  HTTPS_PROXY: ["proxy:3128", "socks5://proxy"],
  TRUST_PROXY: ["127.0.0.1"],
  CORS_ORIGINS: ["*", "https://console.example/app"],
  ACCESS_KEY_DAYS: ["0", "3651", "1.5", "1e2", "-1", "ten"],
  ACTIVITY_RETENTION_DAYS: ["0", "36501", " 7"],
  LOG_LEVEL: ["verbose", "INFO"],
  CLOCK_SKEW_SECONDS: ["0", "3601"],
  DELIVERY_RETRY_BASE_MS: ["0", "86400001"],
  DELIVERY_RETRY_CAP_MS: ["0", "86400001"],
};

for (const [setting, values] of Object.entries(malformed)) {
  test(`refuses malformed values of ${setting} and names it`, () => {
    for (const value of values) assertRefused({ [setting]: value }, setting);
  });
}

test("refuses a well-known password, also with digits and signs around it", () => {
  const wellKnown = [
    "administrator",
    "Password123",
    "concordat2026",
    "!!secret!!!!",
    "123456789-changeme",
    "change-me-1",
  ];
  for (const value of wellKnown) assertRefused({ ADMIN_PASSWORD: value }, "ADMIN_PASSWORD", /well-known/);
  for (const value of ["my password is long", "secretary of state"]) {
    assert.is(read({ ADMIN_PASSWORD: value }).adminPassword, value);
  }
});

test("never shows a refused password", () => {
  const error = refusalOf(() => read({ ADMIN_PASSWORD: "hunter-2x" }));
  assert.not.match(error.message, /hunter/);
});

test("refuses an unknown name and suggests the near one", () => {
  assertRefused({ ORIGN: "https://a.example" }, "ORIGN", /Do you mean CONCORDAT_ORIGIN\?/);
  assertRefused({ DATABASE_URI: "postgres://a/b" }, "DATABASE_URI", /Do you mean CONCORDAT_DATABASE_URL\?/);
  assertRefused({ ADMIN_PASWORD_FILE: "/nowhere" }, "ADMIN_PASWORD_FILE", /Do you mean CONCORDAT_ADMIN_PASSWORD\?/);
});

test("suggests nothing where no name is near", () => {
  assert.not.match(refusalOf(() => read({ ENABLE_EVERYTHING: "true" })).message, /Do you mean/);
});

test("ignores what is not a node's", () => {
  const ignored = {
    TEST_DATABASE_URL: "x",
    VAULT: "x",
    VAULT_PASSPHRASE: "x",
    VAULT_PASSPHRASE_FILE: "/nowhere",
    SERVICE_HOST: "10.0.0.1",
    SERVICE_PORT_HTTP: "80",
    PORT: "tcp://10.0.0.1:80",
    PORT_80_TCP_ADDR: "10.0.0.1",
  };
  assert.equal(readConfig({ ...prefixed(ignored), PATH: "/bin", concordat_origin: "x" }, { cwd }), read({}));
});

test("takes an empty variable for one that is not set", () => {
  const empty = Object.fromEntries(settingNames.map((name) => [name, ""]));
  assert.equal(read(empty), read({}));
});

test("reads a value from a file, without the end of its last line", () => {
  const lines = {
    "a secret of mine": "a secret of mine\n",
    "of Windows": "of Windows\r\n",
    "two\nlines and more": "two\nlines and more",
  };
  for (const [value, text] of Object.entries(lines)) {
    assert.is(read({ ADMIN_PASSWORD_FILE: writeIn("password", text) }).adminPassword, value);
  }
  assert.is(read({ ACCESS_KEY_DAYS_FILE: writeIn("days", "12\n") }).accessKeyDays, 12);
});

test("judges a value from a file like any other", () => {
  assertRefused({ ADMIN_PASSWORD_FILE: writeIn("password", "short") }, "ADMIN_PASSWORD");
});

test("refuses a file that cannot be read, naming setting and path", () => {
  const path = join(root, "missing");
  assertRefused({ ADMIN_PASSWORD_FILE: path }, "ADMIN_PASSWORD_FILE", /missing \(ENOENT\)/);
  assertRefused({ ADMIN_PASSWORD_FILE: root }, "ADMIN_PASSWORD_FILE", /\(EISDIR\)/);
});

test("refuses a setting that is given twice, in either order", () => {
  const file = writeIn("level", "info");
  assertRefused({ LOG_LEVEL: "info", LOG_LEVEL_FILE: file }, "LOG_LEVEL", /twice/);
  assertRefused({ LOG_LEVEL_FILE: file, LOG_LEVEL: "info" }, "LOG_LEVEL", /twice/);
});

test("refuses settings that contradict each other", () => {
  assertRefused({ ORIGIN: "http://lyon.example" }, "ORIGIN", /https/);
  assertRefused({ ORIGIN: "http://10.0.0.1:8000" }, "ORIGIN", /https/);
  assertRefused({ DELIVERY_RETRY_BASE_MS: "500", DELIVERY_RETRY_CAP_MS: "499" }, "DELIVERY_RETRY_CAP_MS");
  assertRefused({ DELIVERY_RETRY_CAP_MS: "29999" }, "DELIVERY_RETRY_CAP_MS");
  assertRefused({ REDIS_URL: "redis://localhost" }, "REDIS_URL", /CONCORDAT_DATABASE_URL/);
  assertRefused({ ROLE: "web" }, "ROLE", /CONCORDAT_REDIS_URL/);
  assertRefused({ ROLE: "worker", DATABASE_URL: "postgres://a/b" }, "ROLE", /CONCORDAT_REDIS_URL/);
});

test("takes plain HTTP on loopback, and elsewhere only under the development setting", () => {
  for (const origin of ["http://localhost:1", "http://127.0.0.1:1", "http://127.8.9.1", "http://[::1]:1"]) {
    assert.is(read({ ORIGIN: origin }).origin, origin);
  }
  const origin = "http://ouest.internal:8000";
  assert.is(read({ ORIGIN: origin, ALLOW_PRIVATE_ADDRESSES: "true" }).origin, origin);
});

test("takes a port for metrics, which is not the one of the node", () => {
  const { host, port } = read({ METRICS_PORT: "9000", LISTEN: "10.0.0.1:8000" }).metrics ?? {};
  assert.equal({ host, port }, { host: "10.0.0.1", port: 9000 }, "on the node's host");
  assertRefused({ METRICS_PORT: "0" }, "METRICS_PORT", /from 1 to 65535/);
  assertRefused({ METRICS_PORT: "8000" }, "METRICS_PORT", /CONCORDAT_LISTEN/);
});

test("takes a host for metrics, which need not be the one of the node", () => {
  const { host, port } = read({ METRICS_LISTEN: "[::1]:9000", LISTEN: "0.0.0.0:8000" }).metrics ?? {};
  assert.equal({ host, port }, { host: "::1", port: 9000 });
  assertRefused({ METRICS_LISTEN: "9000" }, "METRICS_LISTEN", /host:port/);
  assertRefused({ METRICS_LISTEN: "127.0.0.1:8000" }, "METRICS_LISTEN", /CONCORDAT_LISTEN/);
  assertRefused({ METRICS_LISTEN: "127.0.0.1:9000", METRICS_PORT: "9000" }, "METRICS_PORT", /keep one/);
});

test("reads .env in the working directory; the environment overrides it", () => {
  const folder = join(root, "with-env");
  mkdirSync(folder);
  writeFileSync(
    join(folder, ".env"),
    '# comment\nCONCORDAT_LOG_LEVEL=debug\nCONCORDAT_ADMIN_PASSWORD="quoted, and long"\nOTHER=1\n',
  );
  const config = readConfig({ CONCORDAT_LOG_LEVEL: "warn" }, { cwd: folder });
  assert.is(config.logLevel, "warn");
  assert.is(config.adminPassword, "quoted, and long");
  assert.is(config.dataDir, join(folder, "data"));
});

test("lets the environment win over .env in either form", () => {
  const folder = join(root, "with-forms");
  mkdirSync(folder);
  const [inFile, inEnvironment] = [writeIn("in-file", "debug"), writeIn("in-environment", "warn")];
  const forms = [
    [`CONCORDAT_LOG_LEVEL=debug`, { CONCORDAT_LOG_LEVEL_FILE: inEnvironment }],
    [`CONCORDAT_LOG_LEVEL_FILE=${inFile}`, { CONCORDAT_LOG_LEVEL: "warn" }],
    [`CONCORDAT_LOG_LEVEL_FILE=${inFile}`, { CONCORDAT_LOG_LEVEL_FILE: inEnvironment }],
  ] as const;
  for (const [line, environment] of forms) {
    writeFileSync(join(folder, ".env"), `${line}\n`);
    assert.is(readConfig({}, { cwd: folder }).logLevel, "debug", line);
    assert.is(readConfig(environment, { cwd: folder }).logLevel, "warn", line);
    assert.is(readConfig({ CONCORDAT_LOG_LEVEL: "" }, { cwd: folder }).logLevel, "debug", "an empty one is not set");
  }
});

test("refuses a setting that .env gives twice, whatever the environment says", () => {
  const folder = join(root, "with-both");
  mkdirSync(folder);
  const file = writeIn("level-of-both", "debug");
  writeFileSync(join(folder, ".env"), `CONCORDAT_LOG_LEVEL=debug\nCONCORDAT_LOG_LEVEL_FILE=${file}\n`);
  const error = refusalOf(() => readConfig({ CONCORDAT_LOG_LEVEL: "warn" }, { cwd: folder }));
  assert.is(error.setting, "CONCORDAT_LOG_LEVEL");
});

test("judges .env by the same rules", () => {
  const folder = join(root, "with-typo");
  mkdirSync(folder);
  writeFileSync(join(folder, ".env"), "CONCORDAT_LOG_LEVLE=debug\n");
  assert.is(refusalOf(() => readConfig({}, { cwd: folder })).setting, "CONCORDAT_LOG_LEVLE");
});

test("cannot be changed once it is read", () => {
  const config = read({ ALLOW_NETWORKS: "10.8.0.0/16" });
  for (const part of [config, config.listen, config.allowNetworks, config.trustProxy, config.corsOrigins]) {
    assert.ok(Object.isFrozen(part), JSON.stringify(part));
  }
});

test(".env.example tells of every setting, in the table's order, with a line of meaning before each", () => {
  const lines = readFileSync(join(process.cwd(), ".env.example"), "utf8").split("\n");
  const names = lines.flatMap((line) => /^#CONCORDAT_([A-Z_]+)=/.exec(line)?.[1] ?? []);
  assert.equal(names, [...settingNames]);
  for (const [at, line] of lines.entries()) {
    if (line.startsWith("#CONCORDAT_")) assert.match(lines[at - 1] ?? "", /^# .+\.$/, line);
    else assert.ok(line === "" || line.startsWith("# "), `a setting is not commented: ${line}`);
  }
});

test("the operator's document tells of every setting, in the same order", () => {
  const text = readFileSync(join(process.cwd(), "docs", "operations.md"), "utf8");
  const rows = [...text.matchAll(/^\| `CONCORDAT_([A-Z_]+)` \|/gm)].map(([, name]) => name);
  assert.equal(rows, [...settingNames]);
});

test(".env.example shows the defaults", () => {
  const text = readFileSync(join(process.cwd(), ".env.example"), "utf8").replaceAll(/^#(?=CONCORDAT_)/gm, "");
  const shown = parseEnv(text);
  assert.is(Object.keys(shown).length, settingNames.length);
  assert.equal(readConfig(shown, { cwd }), read({}));
  const withDefault = Object.entries(shown).filter(([, value]) => value !== "");
  assert.is(withDefault.length, 11);
});

test("the client's vault is in the home directory, or where CONCORDAT_VAULT says", () => {
  const adminDir = join(homedir(), ".concordat");
  const home = { vaultDir: adminDir, adminDir };
  assert.equal(readCliConfig({}), home);
  assert.equal(readCliConfig({ CONCORDAT_VAULT: "", CONCORDAT_VAULT_PASSPHRASE: "" }), home);
  assert.equal(readCliConfig({ CONCORDAT_VAULT: "/v", CONCORDAT_VAULT_PASSPHRASE: "p" }), {
    vaultDir: "/v",
    adminDir,
    passphrase: "p",
  });
  const file = writeIn("passphrase", "from a file\n");
  assert.is(readCliConfig({ CONCORDAT_VAULT_PASSPHRASE_FILE: file }).passphrase, "from a file");
});

test("the client refuses a name that neither it nor a node has, and suggests the near one", () => {
  const misspelt = refusalOf(() => readCliConfig({ CONCORDAT_VALT: "/v" }));
  assert.is(misspelt.setting, "CONCORDAT_VALT");
  assert.match(misspelt.message, "Do you mean CONCORDAT_VAULT?");
  const near = refusalOf(() => readCliConfig({ CONCORDAT_VAULT_PASPHRASE: "p" }));
  assert.match(near.message, "Do you mean CONCORDAT_VAULT_PASSPHRASE?");
  const others = {
    CONCORDAT_ORIGIN: "x",
    CONCORDAT_NODE_KEYS_FILE: "/k",
    CONCORDAT_PORT_80_TCP: "x",
    CONCORDAT_TEST_X: "x",
  };
  assert.equal(readCliConfig(others), readCliConfig({}));
});

test(".env.example tells of the client's settings as text, since the client does not read .env", () => {
  const text = readFileSync(join(process.cwd(), ".env.example"), "utf8");
  for (const name of ["VAULT", "VAULT_PASSPHRASE", "VAULT_PASSPHRASE_FILE"]) {
    assert.match(text, new RegExp(`^# CONCORDAT_${name}: `, "m"));
  }
});

test("refuses a passphrase that is given twice or whose file cannot be read", () => {
  const twice = { CONCORDAT_VAULT_PASSPHRASE: "p", CONCORDAT_VAULT_PASSPHRASE_FILE: "/nowhere" };
  assert.is(refusalOf(() => readCliConfig(twice)).setting, "CONCORDAT_VAULT_PASSPHRASE");
  const missing = { CONCORDAT_VAULT_PASSPHRASE_FILE: join(root, "missing") };
  assert.is(refusalOf(() => readCliConfig(missing)).setting, "CONCORDAT_VAULT_PASSPHRASE_FILE");
});

test.run();
