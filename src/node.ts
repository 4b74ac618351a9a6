/** A node, wired from its configuration: the only place that knows all parts. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { Config } from "./config.ts";
import { fingerprint } from "./crypto/keys.ts";
import { prepareDataDir } from "./data-directory.ts";
import { ensureAdministrator } from "./first-password.ts";
import { createApp, createHealthApp, createHttpServer } from "./http/app.ts";
import { heldOctets } from "./http/body.ts";
import { createAddressReader } from "./http/client-address.ts";
import type { HttpDependencies } from "./http/dependencies.ts";
import { type ListenPlace, listen, requestGrace } from "./http/listen.ts";
import { createGuardedFetch, type GuardedFetch } from "./identity/guarded-fetch.ts";
import { claimNode, loadNodeKeys } from "./identity/node-keys.ts";
import { createGroupCommit } from "./inbox/group-commit.ts";
import { createLaneRouser, createPeerReader } from "./inbox/peer-reader.ts";
import { createQuotas } from "./inbox/quotas.ts";
import { drainLane, type LaneDependencies } from "./outbox/lanes.ts";
import { endLeases } from "./outbox/leases.ts";
import { admitInvited } from "./peering/invitations.ts";
import { createPeerKeyRefresh } from "./peering/peer-keys.ts";
import { system } from "./registry/caller.ts";
import { createEventWatch } from "./registry/event-watch.ts";
import { listLanes } from "./registry/peer-views.ts";
import { countUnnumbered, createSequencer, journalSignal } from "./registry/sequencer.ts";
import { createSoon } from "./soon.ts";
import { openStores, type Stores } from "./stores.ts";
import { createLog, type Log } from "./telemetry/log.ts";
import { createMetrics, createMetricsServer } from "./telemetry/metrics.ts";
import { startUpkeep } from "./upkeep.ts";
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
  const askAdmission = work(createSoon(() => admitInvited(peering), { interval: admissionMilliseconds, onError }));
  const dependencies: HttpDependencies = {
    ...peering,
    readPeer: createPeerReader(database),
    rouseLane: work(createLaneRouser(database, { wake, onError })),
    chargeQuota: createQuotas(keyValue),
    commitActivity: createGroupCommit(shared),
    admitInvited: askAdmission,
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
  if (config.role !== "web") {
    // Alone, whoever held a lane before is gone; beside others a claim runs out by itself.
    if (stores.alone) await endLeases(database.db);
    scheduler.start((lane) => drainLane(lanes, lane));
    const retentionDays = config.activityRetentionDays;
    work(startUpkeep({ ...lanes, admitInvited: askAdmission, onNumbered, retentionDays, onError }));
  }

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
