/** The database and Redis, looked at from beside the node. */
import { join } from "node:path";
import type { Config } from "../config.ts";
import { ConcordatError } from "../errors.ts";
import { type Inspection, inspectDatabase } from "../storage/inspect.ts";
import { openRedis } from "../storage/redis.ts";
import { nodes } from "../storage/schema.ts";
import { compareClocks } from "./clock.ts";
import type { OwnKeys } from "./files.ts";
import { type Finding, findingsOf, messageOf } from "./findings.ts";

const leastVersion = 150_000;

/** What the doctor found at the database, and the open database where its tables can be read. */
export interface DatabaseExamination {
  readonly findings: readonly Finding[];
  readonly readable: Inspection | undefined;
  /** A PGlite that a process has open. */
  readonly busy: boolean;
}

/** The caller closes what is `readable`. */
export async function examineDatabase(
  config: Config,
  { clock, own }: { readonly clock: () => Date; readonly own: OwnKeys | undefined },
): Promise<DatabaseExamination> {
  const { warning, wrong, skipped } = findingsOf("database");
  let inspection: Inspection;
  const url = config.databaseUrl;
  try {
    inspection = await inspectDatabase({ url, dataDir: join(config.dataDir, "database") });
  } catch (error) {
    const code = error instanceof ConcordatError ? error.code : undefined;
    if (code === "data_directory_in_use") {
      return {
        findings: [skipped("A process has the embedded database open: the node is asked instead.")],
        readable: undefined,
        busy: true,
      };
    }
    return {
      findings: [code === "database_missing" ? warning(messageOf(error)) : wrong(explain(error, config))],
      readable: undefined,
      busy: false,
    };
  }
  const { schema } = inspection;
  const findings = [
    ...judgeServer(inspection),
    compareClocks({ whose: "database", there: inspection.now, here: clock(), skewSeconds: config.clockSkewSeconds }),
  ];
  if (schema !== "current") {
    await inspection[Symbol.asyncDispose]();
    return { findings, readable: undefined, busy: false };
  }
  return {
    findings: [...findings, ...(await judgeRecord(inspection, config, own))],
    readable: inspection,
    busy: false,
  };
}

/** Our own errors say what to do already. */
function explain(error: unknown, { databaseUrl }: Config): string {
  if (error instanceof ConcordatError) return error.message;
  const setting = databaseUrl === undefined ? "CONCORDAT_DATA_DIR" : "CONCORDAT_DATABASE_URL";
  return `It cannot be read (${messageOf(error)}): start it, or correct ${setting}.`;
}

function judgeServer({ place, schema, server }: Inspection): readonly Finding[] {
  const { ok, warning, wrong } = findingsOf("database");
  const findings: Finding[] = [];
  if (server.version < leastVersion) {
    findings.push(
      wrong(`${place} is version ${Math.floor(server.version / 10_000)}: PostgreSQL 15 or newer is needed.`),
    );
  }
  for (const [name, value] of [
    ["fsync", server.fsync],
    ["synchronous_commit", server.synchronousCommit],
  ]) {
    if (value === "off") findings.push(wrong(`${place} has ${name} off and loses what it has promised: set it on.`));
  }
  const judged = {
    none: () => warning(`${place} has no tables yet: \`concordat serve\` or \`concordat migrate\` makes them.`),
    older: () =>
      warning(`${place} has an older schema: \`concordat serve\` or \`concordat migrate\` brings it up to date.`),
    newer: () => wrong(`${place} was migrated by a newer version of Concordat: start that version.`),
    current: () => ok(`${place} answers and its schema is up to date.`),
  };
  return [...findings, judged[schema]()];
}

/** Is it the database of this node? */
async function judgeRecord(
  { db }: Inspection,
  { origin }: Config,
  own: OwnKeys | undefined,
): Promise<readonly Finding[]> {
  const { ok, warning, wrong } = findingsOf("identity");
  const [node] = await db.select().from(nodes);
  if (node === undefined) return [warning("No node was started on this database yet.")];
  if (node.origin !== origin) {
    return [wrong(`CONCORDAT_ORIGIN is ${origin}, and the database belongs to ${node.origin}: set it back.`)];
  }
  if (own !== undefined && (node.ed25519Thumbprint !== own.ed25519 || node.rsaThumbprint !== own.rsa)) {
    return [
      wrong(
        "The node's keys are not those that the database knows: restart after a rotation, or bring back the keys that belong to it.",
      ),
    ];
  }
  return [ok(`The database belongs to ${origin}${own === undefined ? "" : " and to these keys"}.`)];
}

export async function examineRedis({ redisUrl }: Config): Promise<readonly Finding[]> {
  const { ok, wrong } = findingsOf("Redis");
  if (redisUrl === undefined) return [];
  try {
    const silent = () => {};
    await using redis = await openRedis(redisUrl, { onAway: silent, onBack: silent, onRefused: silent });
    if (redis.isReady()) return [ok("It answers, and drops nothing of its own accord.")];
    return [
      wrong("It does not answer, so that each process works for itself: start it, or correct CONCORDAT_REDIS_URL."),
    ];
  } catch (error) {
    return [wrong(messageOf(error))];
  }
}
