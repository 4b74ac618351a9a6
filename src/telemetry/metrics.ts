/**
 * Metrics in Prometheus' form, on a listener of their own. Labels are peers that an administrator knows, codes and
 * outcomes of fixed lists: never what a stranger chose, and nothing of what is exchanged.
 *
 * Gauges of lanes and journal describe what all processes of a node share; take their maximum, not their sum.
 */
import { createServer, type Server } from "node:http";
import { Counter, collectDefaultMetrics, Gauge, Registry } from "prom-client";

/** The way to one peer, as far as it is measured. */
export interface LaneReading {
  readonly origin: string;
  readonly lane: {
    readonly state: string;
    readonly depth: number;
    readonly dead: number;
    readonly oldest_at: string | null;
    readonly next_attempt_at: string | null;
    readonly last_error: { readonly status: number | null } | null;
  };
}

export interface MetricsSources {
  readonly about: { readonly version: string; readonly role: string };
  readonly clock: () => Date;
  readonly readLanes: () => Promise<readonly LaneReading[]>;
  readonly countUnnumbered: () => Promise<number>;
  /** Octets of bodies whose requests are not answered yet. */
  readonly heldOctets: () => number;
  /** Absent in a node without Redis. */
  readonly redis?: RedisSource;
}

interface RedisSource {
  readonly state: () => "ok" | "unreachable" | "stuck" | "evicts";
  readonly strangeJobs: () => number;
}

export interface Metrics {
  /** `accepted`, or the code of a problem. */
  readonly countInboxAnswer: (code: string) => void;
  /** What became of an attempt to deliver. */
  readonly countAttempt: (outcome: string) => void;
  /** Everything as it is now; what comes from the database is left out while that does not answer. */
  readonly render: () => Promise<string>;
  readonly contentType: string;
}

export function createMetrics(sources: MetricsSources): Metrics {
  const { about, redis } = sources;
  const registry = new Registry();
  const registers = [registry];
  const counter = (name: string, help: string, label: string) =>
    new Counter({ name: `concordat_${name}`, help, labelNames: [label], registers });
  const gauge = (name: string, help: string, labelNames: readonly string[] = []) =>
    new Gauge({ name: `concordat_${name}`, help, labelNames: [...labelNames], registers });

  const inbox = counter("inbox_answers_total", "Answers of the inboxes: accepted, or the code of the refusal", "code");
  const attempts = counter("delivery_attempts_total", "Attempts to deliver, by what became of them", "outcome");
  const database = gauge("database_up", "1 when the database answers");
  const unnumbered = gauge("journal_unnumbered_rows", "Committed rows of the journal that wait for their number");
  const lanes = {
    depth: gauge("lane_depth", "Activities that wait for this peer", ["peer"]),
    dead: gauge("lane_dead", "Activities for this peer that were given up", ["peer"]),
    oldest: gauge("lane_oldest_age_seconds", "Age of the oldest activity that waits for this peer", ["peer"]),
    backOff: gauge("lane_back_off_seconds", "Time until this peer, which failed, is tried again", ["peer"]),
  };
  const state = gauge("lane_state", "1 for the state of the lane to this peer: idle, active, backing_off, held", [
    "peer",
    "state",
  ]);
  const lastError = gauge(
    "lane_last_error_status",
    "HTTP status of the last failure of the lane to this peer, 0 where it gave no answer; absent when there is none",
    ["peer"],
  );
  const ofLanes = [...Object.values(lanes), state, lastError];
  gauge("info", "The program", ["version", "role"]).set(about, 1);
  const held = gauge("request_octets", "Octets of bodies of requests that are not answered yet");

  if (redis !== undefined) measureRedis(redis, about.role, registers);

  const readDatabase = async (): Promise<void> => {
    const [readings, rows] = await Promise.all([sources.readLanes(), sources.countUnnumbered()]);
    const now = sources.clock().getTime();
    unnumbered.set(rows);
    for (const one of ofLanes) one.reset();
    for (const { origin: peer, lane } of readings) {
      const seconds = (instant: string | null) => (instant === null ? 0 : (Date.parse(instant) - now) / 1000);
      state.set({ peer, state: lane.state }, 1);
      if (lane.last_error) lastError.set({ peer }, lane.last_error.status ?? 0);
      lanes.depth.set({ peer }, lane.depth);
      lanes.dead.set({ peer }, lane.dead);
      lanes.oldest.set({ peer }, Math.max(0, -seconds(lane.oldest_at)));
      lanes.backOff.set({ peer }, lane.state === "backing_off" ? Math.max(0, seconds(lane.next_attempt_at)) : 0);
    }
  };

  return {
    countInboxAnswer: (code) => inbox.inc({ code }),
    countAttempt: (outcome) => attempts.inc({ outcome }),
    async render() {
      held.set(sources.heldOctets());
      try {
        await readDatabase();
        database.set(1);
      } catch {
        database.set(0);
        unnumbered.remove();
        for (const one of ofLanes) one.reset();
      }
      return await registry.metrics();
    },
    contentType: registry.contentType,
  };
}

function measureRedis({ state, strangeJobs }: RedisSource, role: string, registers: Registry[]): void {
  const flag = (name: string, help: string, read: () => boolean) =>
    new Gauge({
      name: `concordat_${name}`,
      help,
      registers,
      collect() {
        this.set(read() ? 1 : 0);
      },
    });
  flag("redis_up", "1 when Redis answers", () => state() !== "unreachable");
  // A process that only answers requests does not see what becomes of its wakes.
  if (role === "web") return;
  flag("wakes_taken", "1 when wakes that lie in Redis are taken", () => !["unreachable", "stuck"].includes(state()));
  new Counter({
    name: "concordat_strange_jobs_total",
    help: "Jobs in Redis that were none of the node's",
    registers,
    collect() {
      this.reset();
      this.inc(strangeJobs());
    },
  });
}

/** Answers `GET /metrics`, also with what the process itself uses. */
export function createMetricsServer(metrics: Metrics): Server {
  const ofProcess = new Registry();
  collectDefaultMetrics({ register: ofProcess });
  return createServer((request, response) => {
    if (request.method !== "GET" || request.url !== "/metrics") {
      response.writeHead(404).end();
      return;
    }
    Promise.all([metrics.render(), ofProcess.metrics()]).then(
      (parts) => response.writeHead(200, { "content-type": metrics.contentType }).end(parts.join("\n")),
      () => response.writeHead(500).end(),
    );
  });
}
