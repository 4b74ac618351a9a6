/**
 * Settings: read once from the environment (and `.env`), judged, frozen. Nothing else reads `process.env`.
 * The names are a contract with whoever operates a node.
 */
import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { parseEnv } from "node:util";
import ipaddr from "ipaddr.js";
import { ConcordatError } from "./errors.ts";
import { type LogLevel, logLevels } from "./telemetry/log.ts";

export interface Config {
  readonly origin: string;
  readonly listen: { readonly host: string; readonly port: number };
  readonly dataDir: string;
  readonly nodeKeys?: string;
  readonly databaseUrl?: string;
  /** Several processes share the database through this Redis. */
  readonly redisUrl?: string;
  /** What every key in Redis begins with: nodes may share one. */
  readonly redisPrefix: string;
  readonly role: Role;
  readonly adminPassword?: string;
  readonly allowPrivateAddresses: boolean;
  readonly allowNetworks: readonly string[];
  readonly httpsProxy?: string;
  readonly trustProxy: readonly string[];
  readonly corsOrigins: readonly string[];
  readonly accessKeyDays: number;
  readonly activityRetentionDays: number;
  readonly logLevel: LogLevel;
  readonly clockSkewSeconds: number;
  readonly deliveryRetryBaseMs: number;
  readonly deliveryRetryCapMs: number;
  /** Where metrics are given out. */
  readonly metrics?: MetricsPlace;
}

export interface MetricsPlace {
  readonly host: string;
  readonly port: number;
  /** Which one says so. */
  readonly setting: string;
}

/** What a process does: answer requests, deliver, or both. */
export const roles = ["all", "web", "worker"] as const;
export type Role = (typeof roles)[number];

/** A setting that cannot be used; `setting` names it. */
export class ConfigError extends ConcordatError {
  readonly setting: string;

  constructor(setting: string, message: string) {
    super("setting_refused", `${setting} ${message}`);
    this.setting = setting;
  }
}

/** Every setting of a node, without the prefix. */
export const settingNames = [
  "ORIGIN",
  "LISTEN",
  "DATA_DIR",
  "NODE_KEYS",
  "DATABASE_URL",
  "REDIS_URL",
  "REDIS_PREFIX",
  "ROLE",
  "ADMIN_PASSWORD",
  "ALLOW_PRIVATE_ADDRESSES",
  "ALLOW_NETWORKS",
  "HTTPS_PROXY",
  "TRUST_PROXY",
  "CORS_ORIGINS",
  "ACCESS_KEY_DAYS",
  "ACTIVITY_RETENTION_DAYS",
  "LOG_LEVEL",
  "CLOCK_SKEW_SECONDS",
  "DELIVERY_RETRY_BASE_MS",
  "DELIVERY_RETRY_CAP_MS",
  "METRICS_PORT",
  "METRICS_LISTEN",
] as const;
type SettingName = (typeof settingNames)[number];

type Environment = Readonly<Record<string, string | undefined>>;

const prefix = "CONCORDAT_";
/** Nobody's setting: the tests', and what Kubernetes injects for a service called concordat. */
const notOurs = /^CONCORDAT_(?:TEST_|SERVICE_|PORT)/;
/** Not a node's: those, and the client's. */
const foreign = new RegExp(`${notOurs.source}|^CONCORDAT_VAULT`);

/** Passwords that were published with some software or other; digits and signs around the word make none better. */
const wellKnownPassword =
  /^[^a-z]*(?:admin|administrator|changeme|change-me|concordat|password|passw0rd|secret|example)[^a-z]*$/i;
const leastPassword = 10;

/** @throws {ConfigError} for unknown names, malformed values, contradictions, well-known secrets */
export function readConfig(environment: Environment = process.env, { cwd = process.cwd() } = {}): Config {
  const settings = new Map([...readSettings(readDotEnv(cwd)), ...readSettings(environment)]);
  const read = <T>(name: SettingName, parse: (text: string, setting: string) => T, fallback: T): T => {
    const text = settings.get(name);
    return text === undefined ? fallback : parse(text, prefix + name);
  };
  const optional = <K extends string>(key: K, name: SettingName, parse: (text: string, setting: string) => string) => {
    const value = read<string | undefined>(name, parse, undefined);
    return (value === undefined ? {} : { [key]: value }) as { readonly [P in K]?: string };
  };
  const origin = read("ORIGIN", parseOrigin, "http://localhost:8000");
  const listen = read("LISTEN", parseListen, { host: "127.0.0.1", port: 8000 });
  const metricsPort = read<MetricsPlace | undefined>(
    "METRICS_PORT",
    (text, setting) => ({ host: listen.host, port: parseInteger(1, 65_535)(text, setting), setting }),
    undefined,
  );
  const metrics = read("METRICS_LISTEN", (text, setting) => ({ ...parseListen(text, setting), setting }), metricsPort);
  if (metricsPort !== undefined && metrics !== metricsPort) {
    throw new ConfigError(
      "CONCORDAT_METRICS_PORT",
      "is given beside CONCORDAT_METRICS_LISTEN, which has a port: keep one.",
    );
  }
  const config: Config = {
    origin,
    listen,
    dataDir: resolve(cwd, read("DATA_DIR", parseText, "./data")),
    ...optional("nodeKeys", "NODE_KEYS", parseText),
    ...optional("databaseUrl", "DATABASE_URL", parseDatabaseUrl),
    ...optional("redisUrl", "REDIS_URL", parseRedisUrl),
    redisPrefix: read("REDIS_PREFIX", parseText, `concordat:${origin}:`),
    role: read("ROLE", parseRole, "all"),
    ...optional("adminPassword", "ADMIN_PASSWORD", parsePassword),
    allowPrivateAddresses: read("ALLOW_PRIVATE_ADDRESSES", parseFlag, false),
    allowNetworks: read("ALLOW_NETWORKS", parseNetworks, []),
    ...optional("httpsProxy", "HTTPS_PROXY", parseHttpUrl),
    trustProxy: read("TRUST_PROXY", parseNetworks, []),
    corsOrigins: read("CORS_ORIGINS", parseOrigins, []),
    accessKeyDays: read("ACCESS_KEY_DAYS", parseInteger(1, 3650), 365),
    activityRetentionDays: read("ACTIVITY_RETENTION_DAYS", parseInteger(1, 36_500), 90),
    logLevel: read("LOG_LEVEL", parseLogLevel, "info"),
    clockSkewSeconds: read("CLOCK_SKEW_SECONDS", parseInteger(1, 3600), 300),
    deliveryRetryBaseMs: read("DELIVERY_RETRY_BASE_MS", parseInteger(1, 86_400_000), 30_000),
    deliveryRetryCapMs: read("DELIVERY_RETRY_CAP_MS", parseInteger(1, 86_400_000), 28_800_000),
    ...(metrics === undefined ? {} : { metrics }),
  };
  refuseContradictions(config);
  for (const part of Object.values(config)) Object.freeze(part);
  return Object.freeze(config);
}

export interface CliConfig {
  /** Directory of the vault. */
  readonly vaultDir: string;
  /** Where the administrator's logins are kept: apart from the vault, so that another vault does not end them. */
  readonly adminDir: string;
  /** Of the vault, where the environment gives it. */
  readonly passphrase?: string;
}

/** Where the client keeps vault and logins, and the passphrase if the environment gives one. @throws {ConfigError} */
export function readCliConfig(environment: Environment = process.env): CliConfig {
  const {
    CONCORDAT_VAULT: dir,
    CONCORDAT_VAULT_PASSPHRASE: given,
    CONCORDAT_VAULT_PASSPHRASE_FILE: file,
  } = definedOnly(environment);
  if (given !== undefined && file !== undefined) {
    throw new ConfigError("CONCORDAT_VAULT_PASSPHRASE", "is given twice, itself and as _FILE: keep one.");
  }
  const passphrase = file === undefined ? given : readSecretFile("CONCORDAT_VAULT_PASSPHRASE_FILE", file);
  refuseUnknownOfClient(environment);
  const adminDir = join(homedir(), ".concordat");
  return {
    vaultDir: resolve(dir ?? adminDir),
    adminDir,
    ...(passphrase === undefined ? {} : { passphrase }),
  };
}

/** Settings of the client, without the prefix. */
const clientSettingNames = ["VAULT", "VAULT_PASSPHRASE", "VAULT_PASSPHRASE_FILE"];

/** A name that neither the client nor a node has: a vault that is named wrongly must not become one elsewhere. */
function refuseUnknownOfClient(environment: Environment): void {
  for (const variable of Object.keys(definedOnly(environment))) {
    if (!variable.startsWith(prefix) || notOurs.test(variable)) continue;
    const name = variable.slice(prefix.length);
    const known: readonly string[] = [...clientSettingNames, ...settingNames];
    if (known.includes(name) || known.includes(name.replace(/_FILE$/, ""))) continue;
    throw new ConfigError(variable, `is not a setting.${suggest(name, known)}`);
  }
}

function readDotEnv(cwd: string): Environment {
  const path = join(cwd, ".env");
  return existsSync(path) ? parseEnv(readFileSync(path, "utf8")) : {};
}

/** An empty variable is one that is not set: `CONCORDAT_REDIS_URL=` in a compose file. */
function definedOnly(environment: Environment): Readonly<Record<string, string>> {
  const entries = Object.entries(environment);
  return Object.fromEntries(entries.filter((entry): entry is [string, string] => Boolean(entry[1])));
}

function readSettings(environment: Environment): ReadonlyMap<SettingName, string> {
  const settings = new Map<SettingName, string>();
  for (const [variable, value] of Object.entries(definedOnly(environment))) {
    if (!variable.startsWith(prefix) || foreign.test(variable)) continue;
    const isFile = variable.endsWith("_FILE");
    const name = variable.slice(prefix.length, isFile ? -"_FILE".length : undefined) as SettingName;
    if (!settingNames.includes(name)) throw new ConfigError(variable, `is not a setting.${suggest(name)}`);
    if (settings.has(name)) throw new ConfigError(prefix + name, "is given twice, itself and as _FILE: keep one.");
    settings.set(name, isFile ? readSecretFile(variable, value) : value);
  }
  return settings;
}

function readSecretFile(variable: string, path: string): string {
  try {
    return readFileSync(path, "utf8").replace(/\r?\n$/, "");
  } catch (error) {
    throw new ConfigError(
      variable,
      `names a file that cannot be read: ${path} (${(error as NodeJS.ErrnoException).code}).`,
    );
  }
}

/** The nearest name, when it is near. */
function suggest(name: string, names: readonly string[] = settingNames): string {
  const [nearest] = names
    .map((candidate) => ({ candidate, distance: editDistance(name, candidate) }))
    .sort((a, b) => a.distance - b.distance);
  return nearest && nearest.distance <= 4 ? ` Do you mean ${prefix}${nearest.candidate}?` : "";
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

function refuseContradictions(config: Config): void {
  const { protocol, hostname } = new URL(config.origin);
  const loopback = /^(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(hostname);
  if (protocol === "http:" && !loopback && !config.allowPrivateAddresses) {
    throw new ConfigError("CONCORDAT_ORIGIN", "must begin with https:// outside loopback.");
  }
  if (config.redisUrl !== undefined && config.databaseUrl === undefined) {
    throw new ConfigError("CONCORDAT_REDIS_URL", "needs CONCORDAT_DATABASE_URL: several processes share a PostgreSQL.");
  }
  if (config.role !== "all" && config.redisUrl === undefined) {
    throw new ConfigError(
      "CONCORDAT_ROLE",
      `${config.role} needs CONCORDAT_DATABASE_URL and CONCORDAT_REDIS_URL: without them one process does all.`,
    );
  }
  if (config.metrics?.port === config.listen.port) {
    throw new ConfigError(config.metrics.setting, "has the port of CONCORDAT_LISTEN: metrics need one of their own.");
  }
  if (config.deliveryRetryCapMs < config.deliveryRetryBaseMs) {
    throw new ConfigError("CONCORDAT_DELIVERY_RETRY_CAP_MS", "is below CONCORDAT_DELIVERY_RETRY_BASE_MS.");
  }
}

const parseText = (text: string): string => text;

function parseOrigin(text: string, setting: string): string {
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol) || new URL(text).origin !== text) {
    throw new ConfigError(setting, "is an origin: scheme, host and port without path, like https://lyon.example");
  }
  return text;
}

const list = (text: string) =>
  text
    .split(",")
    .map((item) => item.trim())
    .filter((item) => item !== "");

const parseOrigins = (text: string, setting: string) => list(text).map((item) => parseOrigin(item, setting));

function parseListen(text: string, setting: string) {
  const match = /^(?:\[([0-9a-f:.]+)\]|([^:[\]]+)):(\d{1,5})$/i.exec(text);
  const port = Number(match?.[3]);
  if (!match || port > 65_535) throw new ConfigError(setting, "is host:port, like 127.0.0.1:8000 or [::1]:8000");
  return { host: match[1] ?? match[2] ?? "", port };
}

function parseFlag(text: string, setting: string): boolean {
  if (text !== "true" && text !== "false") throw new ConfigError(setting, "is true or false.");
  return text === "true";
}

function parseNetworks(text: string, setting: string): readonly string[] {
  const networks = list(text);
  const bad = networks.find((network) => !ipaddr.isValidCIDR(network));
  if (bad !== undefined) throw new ConfigError(setting, `holds something that is no CIDR like 10.8.0.0/16: ${bad}`);
  return networks;
}

function parseDatabaseUrl(text: string, setting: string): string {
  if (!URL.canParse(text) || !/^postgres(?:ql)?:$/.test(new URL(text).protocol)) {
    throw new ConfigError(setting, "is a URL like postgres://user@host/database");
  }
  return text;
}

function parseRedisUrl(text: string, setting: string): string {
  if (!URL.canParse(text) || !/^rediss?:$/.test(new URL(text).protocol)) {
    throw new ConfigError(setting, "is a URL like redis://host:6379 or rediss://host:6379");
  }
  return text;
}

function parseRole(text: string, setting: string): Role {
  const role = roles.find((name) => name === text);
  if (!role) throw new ConfigError(setting, `is one of ${roles.join(", ")}.`);
  return role;
}

function parseHttpUrl(text: string, setting: string): string {
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol)) {
    throw new ConfigError(setting, "is a URL like http://proxy.example:3128");
  }
  return text;
}

function parsePassword(text: string, setting: string): string {
  if (text.length < leastPassword || wellKnownPassword.test(text)) {
    throw new ConfigError(setting, `needs at least ${leastPassword} characters and must not be a well-known one.`);
  }
  return text;
}

function parseLogLevel(text: string, setting: string): LogLevel {
  const level = logLevels.find((name) => name === text);
  if (!level) throw new ConfigError(setting, `is one of ${logLevels.join(", ")}.`);
  return level;
}

const parseInteger = (least: number, greatest: number) => (text: string, setting: string) => {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < least || value > greatest) {
    throw new ConfigError(setting, `is a whole number from ${least} to ${greatest}.`);
  }
  return value;
};
