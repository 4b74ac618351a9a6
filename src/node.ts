/** A node, wired from its configuration: the only place that knows all parts. */
import { randomBytes } from "node:crypto";
import { chmod, readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { Config } from "./config.ts";
import { fingerprint } from "./crypto/keys.ts";
import { ConcordatError } from "./errors.ts";
import { createApp, createHealthApp, createHttpServer } from "./http/app.ts";
import { heldOctets } from "./http/body.ts";
import { createAddressReader } from "./http/client-address.ts";
import type { HttpDependencies } from "./http/dependencies.ts";
import { type ListenPlace, listen, requestGrace } from "./http/listen.ts";
import { createGuardedFetch, type GuardedFetch } from "./identity/guarded-fetch.ts";
import {
  claimNode,
  exportNodeKeys,
  loadNodeKeys,
  makeNodeKeys,
  type NodeKeys,
  rotateNodeKeys,
} from "./identity/node-keys.ts";
import { createGroupCommit } from "./inbox/group-commit.ts";
import { createLaneRouser, createPeerReader } from "./inbox/peer-reader.ts";
import { createQuotas } from "./inbox/quotas.ts";
import { drainLane, type LaneDependencies, sweepLanes } from "./outbox/lanes.ts";
import { endLeases } from "./outbox/leases.ts";
import { admitInvited } from "./peering/invitations.ts";
import { createPeerKeyRefresh } from "./peering/peer-keys.ts";
import {
  createFirstAdministrator,
  firstAdministrator,
  hasAdministrator,
  mayCreateFirst,
  replacePassword,
} from "./registry/administrators.ts";
import { system } from "./registry/caller.ts";
import { createEventWatch } from "./registry/event-watch.ts";
import { tellExpiringKeys } from "./registry/expiring-keys.ts";
import { listLanes } from "./registry/peer-views.ts";
import { dropOld } from "./registry/retention.ts";
import { countUnnumbered, createSequencer, journalSignal, sequenceJournal } from "./registry/sequencer.ts";
import { createSoon } from "./soon.ts";
import { type Database, openDatabase } from "./storage/database.ts";
import { type Inspection, inspectDatabase } from "./storage/inspect.ts";
import { makeDirectory } from "./storage/make-directory.ts";
import { writeWhole } from "./storage/whole-file.ts";
import { openStores, type Stores } from "./stores.ts";
import { createLog, type Log } from "./telemetry/log.ts";
import { createMetrics, createMetricsServer } from "./telemetry/metrics.ts";
import { version } from "./version.ts";
import { within } from "./within.ts";

export interface NodeOverrides {
  readonly clock?: () => Date;
  readonly random?: () => number;
  readonly log?: Log;
  /** How often those who watch events look, whatever was signalled, milliseconds. */
  readonly lookEvery?: number;
}

export interface Node extends AsyncDisposable {
  readonly origin: string;
  /** Where it really listens: with port 0 in the configuration, the port that it got. */
  readonly address: AddressInfo;
  readonly log: Log;
  /** What administrators of peers compare. */
  readonly fingerprint: string;
  /** The password of `admin` that was generated at the first start and not shown to anybody yet. */
  readonly firstPassword: string | null;
  /** Stops accepting, finishes what runs, closes. */
  close(): Promise<void>;
}

/** How often the sweeper looks for what nobody woke. */
const sweepMilliseconds = 5_000;
/** How often what is old is dropped. */
const retentionMilliseconds = 3_600_000;

/** From one admission of those who came with an invitation to the next at least. */
const admissionMilliseconds = 100;

/** What may still end when what was under way has had its time, milliseconds. */
const lastMoments = 500;

/** Starts a node. @throws {ConcordatError} when settings, stores or keys do not fit together; nothing is left open then */
export async function createNode(config: Config, overrides: NodeOverrides = {}): Promise<Node> {
  const clock = overrides.clock ?? (() => new Date());
  const log = overrides.log ?? createLog({ level: config.logLevel });
  await prepareDataDir(config.dataDir);
  // Before the stores: it opens nothing, and may refuse its settings.
  const fetcher = createFetch(config, log);
  const stores = await openStores(config, { clock, log });
  /** What takes work or begins it by itself: from its disposal on it does not, and that waits for what is under way. */
  const working: AsyncDisposable[] = [];

  let stopped: Promise<void> | undefined;
  const stop = async () => {
    // Nothing new is begun, no request, no lane, no sweep; what is under way has the time that requests have.
    const ended = Promise.allSettled(working.map((part) => part[Symbol.asyncDispose]()));
    await within(requestGrace, ended);
    // What waits for another node waits no longer, and may still write that down.
    await fetcher[Symbol.asyncDispose]();
    await within(lastMoments, ended);
    // The database first: what waits for it fails, and ends as well.
    await stores[Symbol.asyncDispose]();
    await within(lastMoments, ended);
  };
  const close = () => {
    stopped ??= stop();
    return stopped;
  };
  try {
    const { random = Math.random, lookEvery } = overrides;
    const work = <T extends AsyncDisposable>(part: T): T => {
      working.push(part);
      return part;
    };
    const started = await startNode(config, { clock, random, log, lookEvery, stores, fetcher, work });
    return { ...started, log, close, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

interface NodeParts extends Required<Pick<NodeOverrides, "clock" | "random" | "log">> {
  readonly lookEvery: number | undefined;
  readonly stores: Stores;
  readonly fetcher: GuardedFetch;
  /** Keeps what works, to be ended before what it works with. */
  readonly work: <T extends AsyncDisposable>(part: T) => T;
}

async function startNode(
  config: Config,
  { clock, random, log, lookEvery, stores, fetcher, work }: NodeParts,
): Promise<Pick<Node, "origin" | "address" | "fingerprint" | "firstPassword">> {
  const onError = (error: unknown) => log.error({ err: error }, "background work failed");
  const { origin } = config;
  const places = listenPlaces(config);
  // Before anything is recorded: an origin that cannot be listened for now may be changed yet.
  for (const place of Object.values(places)) await (await listen(createServer(), place))[Symbol.asyncDispose]();
  const { database, keyValue, scheduler, signals, redis } = stores;
  const keys = await loadNodeKeys({ dataDir: config.dataDir, secret: config.nodeKeys });
  await database.transaction((tx) => claimNode(tx, { origin, keys, now: clock() }));
  const firstPassword = await ensureAdministrator(database, config, clock());
  const stopping = new AbortController();
  const wake = (lane: string, at?: Date) => scheduler.wake(lane, at);

  const onNumbered = () => signals.send(journalSignal);
  const numberJournal = work(createSequencer(database, { onNumbered, onError }));
  const metrics = createMetrics({
    about: { version, role: config.role },
    clock,
    readLanes: () => listLanes(database.db, system),
    heldOctets,
    countUnnumbered: () => countUnnumbered(database.db),
    ...(redis === undefined ? {} : { redis }),
  });
  const refreshPeerKeys = createPeerKeyRefresh({ database, fetcher, keyValue, clock });
  const shared = { database, fetcher, keys, origin, clock, wake, numberJournal, refreshPeerKeys };
  const lanes: LaneDependencies = {
    ...shared,
    random,
    insist: (lane) => scheduler.insist(lane),
    onOutcome: metrics.countAttempt,
    stopping: stopping.signal,
    retry: { base: config.deliveryRetryBaseMs, cap: config.deliveryRetryCapMs },
  };
  const peering = { ...shared, clockSkewSeconds: config.clockSkewSeconds };
  const eventWatch = work(createEventWatch({ database, signals, clock, onError, lookEvery }));
  const dependencies: HttpDependencies = {
    ...peering,
    readPeer: createPeerReader(database),
    rouseLane: work(createLaneRouser(database, { wake, onError })),
    chargeQuota: createQuotas(keyValue),
    commitActivity: createGroupCommit(shared),
    admitInvited: work(createSoon(() => admitInvited(peering), { interval: admissionMilliseconds, onError })),
    keyValue,
    log,
    readAddress: createAddressReader(config.trustProxy),
    accessKeyDays: config.accessKeyDays,
    corsOrigins: config.corsOrigins,
    nodeName: `Concordat at ${new URL(origin).host}`,
    version,
    eventWatch,
    onInboxAnswer: metrics.countInboxAnswer,
    ...(redis === undefined ? {} : { redisState: redis.state }),
  };

  if (config.role !== "web") {
    // Alone, whoever held a lane before is gone; beside others a claim runs out by itself.
    if (stores.alone) await endLeases(database.db);
    const sweep = async () => {
      await sweepLanes(lanes);
      await tellExpiringKeys(database, clock());
      if ((await sequenceJournal(database)) > 0) signals.send(journalSignal);
      await admitInvited(peering);
    };
    await sweep();
    work(every(sweepMilliseconds, () => sweep().catch(onError)));
    work(
      every(retentionMilliseconds, () =>
        dropOld(database.db, { now: clock(), days: config.activityRetentionDays, stopping: stopping.signal }).catch(
          onError,
        ),
      ),
    );
  }
  const app = config.role === "worker" ? createHealthApp(dependencies) : createApp(dependencies);
  const http = createHttpServer(app);
  const listener = await listen(http.server, places.node);
  work({
    async [Symbol.asyncDispose]() {
      await listener[Symbol.asyncDispose]();
      await http.idle();
    },
  });
  if (places.metrics !== undefined) work(await listen(createMetricsServer(metrics), places.metrics));
  work({
    async [Symbol.asyncDispose]() {
      stopping.abort();
      await scheduler.halt();
    },
  });
  if (config.role !== "web") scheduler.start((lane) => drainLane(lanes, lane));

  const { address } = listener;
  const ownFingerprint = fingerprint(keys.ed25519.publicJwk);
  log.info(
    {
      origin,
      role: config.role,
      address: `${address.address}:${address.port}`,
      database: database.kind,
      fingerprint: ownFingerprint,
    },
    "the node is up",
  );
  return { origin, address, fingerprint: ownFingerprint, firstPassword };
}

function listenPlaces({ listen, metrics }: Config): {
  readonly node: ListenPlace;
  readonly metrics?: ListenPlace;
} {
  return {
    node: { ...listen, setting: "CONCORDAT_LISTEN" },
    ...(metrics === undefined ? {} : { metrics: { ...metrics, grace: 0 } }),
  };
}

/** Applies the migrations and closes again; gives the kind of database. */
export async function migrateStores(config: Config): Promise<Database["kind"]> {
  await prepareDataDir(config.dataDir);
  await using database = await openDatabase({ url: config.databaseUrl, dataDir: join(config.dataDir, "database") });
  return database.kind;
}

export interface NodeDescription {
  /** What the administrators of peers compare. */
  readonly fingerprint: string;
  readonly ed25519: string;
  readonly rsa: string;
  /** The keys as JSON, for `CONCORDAT_NODE_KEYS`. */
  readonly secret: string;
}

/** The keys of a node that has been started before. @throws {ConcordatError} `node_missing` where there are none */
export async function readNode(config: Config): Promise<NodeDescription> {
  return describeKeys(await loadNodeKeys({ dataDir: config.dataDir, secret: config.nodeKeys, existing: true }));
}

function describeKeys(keys: NodeKeys): NodeDescription {
  const { ed25519, rsa } = keys;
  return {
    fingerprint: fingerprint(ed25519.publicJwk),
    ed25519: ed25519.kid,
    rsa: rsa.kid,
    secret: exportNodeKeys(keys),
  };
}

/** Keys for a node that is yet to be started by several processes; they are kept nowhere else. */
export async function createKeys(): Promise<NodeDescription> {
  return describeKeys(await makeNodeKeys());
}

/** New keys, for which the old ones vouch; they count from the next start. Gives the secret that holds them. */
export async function rotateKeys(config: Config): Promise<NodeDescription> {
  const { dataDir, nodeKeys: secret, origin } = config;
  return describeKeys(await rotateNodeKeys({ dataDir, secret, origin, now: new Date() }));
}

/** The data directory, for the node's user alone. @throws {ConcordatError} `data_directory_refused` */
async function prepareDataDir(dataDir: string): Promise<void> {
  try {
    await makeDirectory(dataDir);
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

const passwordFile = "admin-password";
const makePassword = () => randomBytes(18).toString("base64url");

/**
 * The administrator of the first start. A generated password stands in a file (0600) before it counts, and until
 * somebody has seen it: whatever happens in between, it can be found. Returns the one that waits there.
 */
async function ensureAdministrator(database: Database, config: Config, now: Date): Promise<string | null> {
  const path = join(config.dataDir, passwordFile);
  if (!(await hasAdministrator(database.db))) {
    await database.transaction(async (tx) => {
      if (!(await mayCreateFirst(tx))) return;
      const password = config.adminPassword ?? makePassword();
      if (config.adminPassword === undefined) await writeWhole(path, `${password}\n`);
      await createFirstAdministrator(tx, password, now);
    });
  }
  const waiting = await readFile(path, "utf8").catch(() => null);
  return waiting?.trim() ?? null;
}

/** The first password was shown to somebody: it is kept nowhere any more. */
export async function forgetFirstPassword(config: Config): Promise<void> {
  await rm(join(config.dataDir, passwordFile), { force: true });
}

/**
 * Gives an administrator a new password, which is kept nowhere; beside a node that runs on PostgreSQL, or while one with
 * embedded stores is stopped.
 * @throws {ConcordatError} `not_found`, `data_directory_in_use`, `database_missing`, `database_unreachable`,
 *   `schema_differs`
 */
export async function resetPassword(config: Config, username: string): Promise<{ readonly password: string }> {
  const password = makePassword();
  await using database = await openBeside(config);
  await database.db.transaction((tx) => replacePassword(tx, username, password, new Date()));
  // It may be the password that waits there to be read, and is none any more.
  if (username === firstAdministrator) await forgetFirstPassword(config);
  return { password };
}

async function openBeside({ databaseUrl: url, dataDir }: Config): Promise<Inspection> {
  const database = await inspectDatabase({ url, dataDir: join(dataDir, "database") }).catch((error: unknown) => {
    if (!(error instanceof ConcordatError && error.code === "data_directory_in_use")) throw error;
    const message = `A process has the embedded database in ${dataDir} open: stop the node, then try again.`;
    throw new ConcordatError(error.code, message, { cause: error });
  });
  if (database.schema === "current") return database;
  await database[Symbol.asyncDispose]();
  throw new ConcordatError(
    "schema_differs",
    `${database.place} does not have the schema of this program: \`concordat doctor\` says what to do.`,
  );
}

/** Runs `work` now and then, until disposed; what runs then is waited for. */
function every(milliseconds: number, work: () => Promise<unknown>): AsyncDisposable {
  let running: Promise<unknown> | undefined;
  const timer = setInterval(() => {
    // One that takes longer than the interval is not followed by all that it has missed.
    running ??= work().finally(() => {
      running = undefined;
    });
  }, milliseconds);
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await running;
    },
  };
}
