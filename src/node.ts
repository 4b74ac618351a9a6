/** A node, wired from its configuration: the only place that knows all parts. */
import { randomBytes } from "node:crypto";
import { chmod, mkdir, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { Config } from "./config.ts";
import { fingerprint } from "./crypto/keys.ts";
import { ConcordatError } from "./errors.ts";
import { createApp, createHttpServer } from "./http/app.ts";
import { createAddressReader } from "./http/client-address.ts";
import type { HttpDependencies } from "./http/dependencies.ts";
import { createGuardedFetch } from "./identity/guarded-fetch.ts";
import { claimNode, exportNodeKeys, loadNodeKeys } from "./identity/node-keys.ts";
import { admitInvited } from "./outbox/invitations.ts";
import { drainLane, type LaneDependencies, releaseLanes, sweepLanes } from "./outbox/lanes.ts";
import { dropOldBodies } from "./outbox/retention.ts";
import { createFirstAdministrator, hasAdministrator } from "./registry/administrators.ts";
import { createSequencer, sequenceJournal } from "./registry/sequencer.ts";
import { type Database, openDatabase } from "./storage/database.ts";
import { openLevelKeyValue } from "./storage/key-value-level.ts";
import { createTimerScheduler } from "./storage/scheduler-timers.ts";
import { createLog, type Log } from "./telemetry/log.ts";
import { version } from "./version.ts";

export interface NodeOverrides {
  readonly clock?: () => Date;
  readonly random?: () => number;
  readonly log?: Log;
}

export interface Node extends AsyncDisposable {
  readonly origin: string;
  /** Where it really listens: with port 0 in the configuration, the port that it got. */
  readonly address: AddressInfo;
  readonly log: Log;
  /** A password that was generated at this first start, where none was configured. */
  readonly firstPassword: string | null;
  /** Stops accepting, finishes what runs, closes. */
  close(): Promise<void>;
}

/** How often the sweeper looks for what nobody woke. */
const sweepMilliseconds = 5_000;
/** How often old bodies are dropped. */
const retentionMilliseconds = 3_600_000;
/** What a request that is under way may still take when the node closes. */
const graceMilliseconds = 8_000;

/** Starts a node. @throws {ConcordatError} when settings, stores or keys do not fit together; nothing is left open then */
export async function createNode(config: Config, overrides: NodeOverrides = {}): Promise<Node> {
  const opened: AsyncDisposable[] = [];
  const closeOpened = async () => {
    for (let part = opened.pop(); part; part = opened.pop()) await part[Symbol.asyncDispose]();
  };
  const open = <T extends AsyncDisposable>(part: T): T => {
    opened.push(part);
    return part;
  };
  try {
    return await startNode(config, overrides, open, closeOpened);
  } catch (error) {
    await closeOpened();
    throw error;
  }
}

async function startNode(
  config: Config,
  overrides: NodeOverrides,
  open: <T extends AsyncDisposable>(part: T) => T,
  closeOpened: () => Promise<void>,
): Promise<Node> {
  const clock = overrides.clock ?? (() => new Date());
  const random = overrides.random ?? Math.random;
  const log = overrides.log ?? createLog({ level: config.logLevel });
  const onError = (error: unknown) => log.error({ err: error }, "background work failed");
  const { origin } = config;

  await prepareDataDir(config.dataDir);
  // The key-value store's lock comes first: a data directory serves one process.
  const keyValue = open(await openLevelKeyValue(join(config.dataDir, "key-value"), { clock }));
  const databaseDir = join(config.dataDir, "database");
  const database = open(await openDatabase({ url: config.databaseUrl, dataDir: databaseDir }));
  const keys = await loadNodeKeys({ dataDir: config.dataDir, secret: config.nodeKeys });
  await database.transaction((tx) => claimNode(tx, { origin, keys, now: clock() }));
  const firstPassword = await ensureAdministrator(database, config, clock());
  const fetcher = open(createFetch(config, log));
  const scheduler = open(createTimerScheduler({ clock, onError }));
  const wake = (lane: string, at?: Date) => scheduler.wake(lane, at);

  const numberJournal = createSequencer(database, onError);
  const shared = { database, fetcher, keys, origin, clock, wake, numberJournal };
  const lanes: LaneDependencies = {
    ...shared,
    random,
    retry: { base: config.deliveryRetryBaseMs, cap: config.deliveryRetryCapMs },
  };
  const peering = { ...shared, clockSkewSeconds: config.clockSkewSeconds };
  const dependencies: HttpDependencies = {
    ...peering,
    admitInvited: () => void admitInvited(peering).catch(onError),
    keyValue,
    log,
    readAddress: createAddressReader(config.trustProxy),
    accessKeyDays: config.accessKeyDays,
    corsOrigins: config.corsOrigins,
    nodeName: `Concordat at ${new URL(origin).host}`,
    version,
  };

  const server = createHttpServer(createApp(dependencies));
  await listen(server, config.listen);
  // One process serves a database in this version (see the settings): whoever held a lane before is gone.
  await releaseLanes(database);
  scheduler.start((lane) => drainLane(lanes, lane));
  const sweep = async () => {
    await sweepLanes(lanes);
    await sequenceJournal(database);
    await admitInvited(peering);
  };
  await sweep();
  const sweeper = setInterval(() => void sweep().catch(onError), sweepMilliseconds);
  const retention = setInterval(() => {
    dropOldBodies(database.db, { now: clock(), days: config.activityRetentionDays }).catch(onError);
  }, retentionMilliseconds);

  let closing: Promise<void> | undefined;
  const close = () => {
    closing ??= (async () => {
      clearInterval(sweeper);
      clearInterval(retention);
      await closeServer(server);
      await closeOpened();
    })();
    return closing;
  };
  const address = server.address() as AddressInfo;
  log.info({ origin, address: `${address.address}:${address.port}`, database: database.kind }, "the node is up");
  return { origin, address, log, firstPassword, close, [Symbol.asyncDispose]: close };
}

/** Applies the migrations and closes again; gives the kind of database. */
export async function migrateStores(config: Config): Promise<Database["kind"]> {
  await prepareDataDir(config.dataDir);
  await using database = await openDatabase({ url: config.databaseUrl, dataDir: join(config.dataDir, "database") });
  return database.kind;
}

export interface NodeDescription {
  readonly origin: string;
  /** What the administrators of peers compare. */
  readonly fingerprint: string;
  readonly ed25519: string;
  readonly rsa: string;
  /** The keys as JSON, for `CONCORDAT_NODE_KEYS`. */
  readonly secret: string;
}

/** Who this node is; its keys are made when there are none yet. */
export async function readNode(config: Config): Promise<NodeDescription> {
  await prepareDataDir(config.dataDir);
  const keys = await loadNodeKeys({ dataDir: config.dataDir, secret: config.nodeKeys });
  const { ed25519, rsa } = keys;
  return {
    origin: config.origin,
    fingerprint: fingerprint(ed25519.publicJwk),
    ed25519: ed25519.kid,
    rsa: rsa.kid,
    secret: exportNodeKeys(keys),
  };
}

/** The data directory, for the node's user alone. @throws {ConcordatError} `data_directory_refused` */
async function prepareDataDir(dataDir: string): Promise<void> {
  try {
    await mkdir(dataDir, { recursive: true, mode: 0o700 });
    await chmod(dataDir, 0o700);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new ConcordatError(
      "data_directory_refused",
      `The data directory ${dataDir} cannot be made or protected (${code}); set CONCORDAT_DATA_DIR to one that this user owns.`,
      { cause: error },
    );
  }
}

function createFetch(config: Config, log: Log) {
  if (config.allowPrivateAddresses) {
    log.warn("CONCORDAT_ALLOW_PRIVATE_ADDRESSES is on: peers on private addresses are reached; for development only");
  }
  return createGuardedFetch({
    allowPrivateAddresses: config.allowPrivateAddresses,
    allowNetworks: config.allowNetworks,
    ...(config.httpsProxy === undefined ? {} : { proxy: config.httpsProxy }),
  });
}

/** The administrator of the first start; returns a generated password when none was configured. */
async function ensureAdministrator(database: Database, config: Config, now: Date): Promise<string | null> {
  if (await hasAdministrator(database.db)) return null;
  const generated = config.adminPassword === undefined ? randomBytes(18).toString("base64url") : null;
  // Written before it counts: a crash in between must not leave a password that nobody knows.
  if (generated !== null && !process.stdout.isTTY) {
    await writeFile(join(config.dataDir, "admin-password"), `${generated}\n`, { mode: 0o600 });
  }
  const password = config.adminPassword ?? generated ?? "";
  await database.transaction((tx) => createFirstAdministrator(tx, password, now));
  return generated;
}

type HttpServer = ReturnType<typeof createHttpServer>;

function listen(server: HttpServer, { host, port }: Config["listen"]): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const inUse = error.code === "EADDRINUSE";
      const message = inUse
        ? `${host}:${port} is taken by another process; set CONCORDAT_LISTEN to another host:port.`
        : `Cannot listen on ${host}:${port} (${error.code}); check CONCORDAT_LISTEN.`;
      reject(new ConcordatError(inUse ? "listen_in_use" : "listen_failed", message, { cause: error }));
    });
    server.listen(port, host, resolve);
  });
}

function closeServer(server: HttpServer): Promise<void> {
  return new Promise((resolve) => {
    const late = setTimeout(() => server.closeAllConnections(), graceMilliseconds);
    server.close(() => {
      clearTimeout(late);
      resolve();
    });
    server.closeIdleConnections();
  });
}
